"""Actors of the chaos suite, run by real workers: `dramatiq tests.chaos.jobs`, `callboard work tests.chaos.jobs`.

Each writes into the journal when an attempt begins and ends. `pay` has an effect in the database, inside completion();
the table takes every row it is given, so that an effect that happened twice is seen twice.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import actors  # noqa: F401 - names the broker that Dramatiq looks up
from callboard import completion
from callboard.app import actor
from callboard.broker import current_delivery
from callboard.errors import PermanentError
from tests.chaos.journal import FOLDER, Writer

QUEUE = "chaos"
HOLD_MAX_S = 600
RECORD_EFFECT = "INSERT INTO chaos_effects (message_id, lease_id) VALUES (%s, %s)"


@cache
def _journal() -> Writer:
    return Writer(Path(os.environ[FOLDER]), "run")


# Dramatiq's command imports no actors, its worker process does: so the harness knows which process is whose.
_journal().write(event="boot", pid=os.getpid(), command=os.getppid())


@contextlib.contextmanager
def _attempt() -> Iterator[None]:
    """Write down the beginning and the end of what the block does."""
    delivery = current_delivery()
    assert delivery is not None
    run = {"id": delivery.message_id, "lease": delivery.lease_id}
    _journal().write(event="begin", attempt=delivery.attempt, actor=delivery.actor_name, pid=os.getpid(), **run)
    try:
        yield
    except BaseException as error:
        _journal().write(event="end", error=type(error).__name__, **run)
        raise
    _journal().write(event="end", error=None, **run)


def _wait_for(name: str) -> None:
    paths = [Path(os.environ[FOLDER], file) for file in (f"{name}.go", f"{name}.{os.getpid()}.go")]
    until = time.monotonic() + HOLD_MAX_S
    while not any(path.exists() for path in paths):
        if time.monotonic() > until:
            raise TimeoutError(f"{name} was never let go.")
        time.sleep(0.02)


@actor(queue_name=QUEUE)
def note(run_s: float = 0.0) -> None:
    """Run for a while."""
    with _attempt():
        time.sleep(run_s)


@actor(queue_name=QUEUE)
def pay(run_s: float = 0.0) -> None:
    """Run for a while and have an effect, exactly once."""
    with _attempt():
        time.sleep(run_s)
        with completion() as connection, connection.cursor() as cursor:
            delivery = current_delivery()
            assert delivery is not None
            cursor.execute(RECORD_EFFECT, (delivery.message_id, delivery.lease_id))


@actor(queue_name=QUEUE)
def hold(name: str) -> None:
    """Run until the test lets it go."""
    with _attempt():
        _wait_for(name)


@actor(queue_name=QUEUE)
def pay_when(name: str) -> None:
    """Have an effect once the test lets it."""
    with _attempt():
        _wait_for(name)
        with completion() as connection, connection.cursor() as cursor:
            delivery = current_delivery()
            assert delivery is not None
            cursor.execute(RECORD_EFFECT, (delivery.message_id, delivery.lease_id))


@actor(queue_name=QUEUE, min_backoff=200, max_backoff=400)
def fail_when(name: str, failures: int = 1) -> None:
    """Run until the test lets it go, and fail in the first attempts."""
    with _attempt():
        _wait_for(name)
        delivery = current_delivery()
        assert delivery is not None
        if delivery.retries < failures:
            raise RuntimeError(f"failure {delivery.retries + 1} of {failures}")


@actor(queue_name=QUEUE)
def refuse() -> None:
    """Fail for good."""
    with _attempt():
        raise PermanentError("never")


@actor(queue_name=QUEUE)
def kill_own_process(run_s: float = 0.0) -> None:
    """Take the process down, and leave a child of it alive."""
    with _attempt():
        time.sleep(run_s)
        leave_child()
        os.kill(os.getpid(), signal.SIGKILL)


@actor(queue_name=QUEUE)
def hold_with_child(name: str) -> None:
    """Run until the test lets it go, with a child process that outlives this one."""
    with _attempt():
        leave_child()
        _wait_for(name)


def leave_child() -> None:
    """Start a process that no signal to this one reaches."""
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    _journal().write(event="child", child=child.pid, pid=os.getpid())
