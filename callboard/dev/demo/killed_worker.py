"""One worker process is stopped in the middle of a receipt, then killed; another one runs it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Any

from callboard.db import Pool, sql
from callboard.dev.demo import plan
from callboard.dev.stack import StackFailed

TIMEOUT_S = 20
#: How long the stopped worker is looked at, s.
STOPPED_S = 1.0
CONVERSATION_BEGINS_S = 0.3


@dataclass(frozen=True)
class Holder:
    """Who holds, or held, the lease of a message."""

    message_id: str
    lease_id: int
    worker_id: str
    pid: int | None
    is_running: bool


@dataclass(frozen=True)
class Takeover:
    """The lease's way from the killed worker to the one that finished."""

    before: Holder
    after: Holder
    seconds: float


def kill_while_sending(pool: Pool, recipient: str) -> Holder:
    """Stop the process that sends mail to the recipient, see that its message stays running, then kill it."""
    holder = _wait_for(pool, recipient, lambda found: found.is_running and found.pid is not None)
    # The row of the mail is written right before the conversation begins; the server takes its time over RCPT.
    time.sleep(CONVERSATION_BEGINS_S)
    assert holder.pid is not None  # noqa: S101 - the condition above
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    stopped = _find(pool, recipient)
    if stopped is None or not stopped.is_running or stopped.lease_id != holder.lease_id:
        raise StackFailed(f"The stopped worker {holder.pid} no longer held its message: {stopped}")
    os.kill(holder.pid, signal.SIGKILL)
    return holder


def wait_for_takeover(pool: Pool, recipient: str, before: Holder) -> Takeover:
    """Wait until another worker has finished the message."""
    started = time.monotonic()
    after = _wait_for(pool, recipient, lambda found: not found.is_running and found.lease_id != before.lease_id)
    return Takeover(before, after, time.monotonic() - started)


def _wait_for(pool: Pool, recipient: str, condition: Any) -> Holder:
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        found = _find(pool, recipient)
        if found is not None and condition(found):
            return found
        time.sleep(0.02)
    raise StackFailed(
        f"The receipt for {recipient} did not get there within {TIMEOUT_S} s; last seen: {_find(pool, recipient)}"
    )


def _find(pool: Pool, recipient: str) -> Holder | None:
    with pool.cursor(plan.DATABASE_TIMEOUT_S) as cursor:
        cursor.execute(sql("demo/find_receipt_holder"), {"recipient": recipient})
        row = cursor.fetchone()
    return None if row is None else Holder(*row)
