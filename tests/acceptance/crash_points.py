"""Actors with everything that follows an actor, in a worker that kills itself at a chosen point.

`dramatiq tests.acceptance.crash_points` with CRASH_POINT=… dies there once all of FIRST have come so far.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq.middleware import Callbacks, GroupCallbacks, Pipelines
from dramatiq.results import Results

from callboard.broker import PostgresBroker, PostgresRateLimits, PostgresResults, completion, set_result
from callboard.broker import completions as broker_transaction
from callboard.broker.ending import verdict_writer as completions
from middleware.dead_letters import DeadLetters
from middleware.retry_limits import RetryLimits

POINT = os.environ.get("CRASH_POINT", "")
#: Messages of the first stage that a test sends.
FIRST = 8
MEET_TIMEOUT_S = 20

meeting = threading.Barrier(FIRST)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def meet() -> None:
    """Wait until all messages of the first stage have come here."""
    meeting.wait(MEET_TIMEOUT_S)


class Dying(dramatiq.Middleware):
    """Dies in the hook after an actor, at its place in the list."""

    def __init__(self, point: str) -> None:
        self._point = point

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if self._point == POINT:
            meet()
            die()


class DyingLater(dramatiq.Middleware):
    """Dies with the verdict given, or written."""

    def before_ack(self, broker: Any, message: Any) -> None:
        if POINT in {"acked", "writing", "written"}:
            meet()

    before_nack = before_ack

    def after_ack(self, broker: Any, message: Any) -> None:
        if POINT == "acked":
            die()

    after_nack = after_ack

    def after_verdicts(self, broker: Any, written: Any) -> None:
        if POINT == "written":
            die()


def dying_after(write: Any, point: str) -> Any:
    """Return a function that writes, and dies before anybody can commit it."""

    def write_and_die(*arguments: Any, **options: Any) -> Any:
        written = write(*arguments, **options)
        if point == POINT:
            die()
        return written

    return write_and_die


completions.write_verdicts = dying_after(completions.write_verdicts, "writing")
broker_transaction.write_verdicts = dying_after(broker_transaction.write_verdicts, "completing")


def make_broker() -> PostgresBroker:
    # after_* hooks run from the end of the list to its beginning.
    return PostgresBroker(
        url=os.environ["DATABASE_URL"],
        middleware=[
            DyingLater(),
            Dying("hooked"),
            Results(backend=PostgresResults()),
            GroupCallbacks(PostgresRateLimits()),
            Dying("half"),
            Callbacks(),
            Pipelines(),
            DeadLetters(),
            RetryLimits(lambda _queue: 0),
            Dying("returned"),
        ],
    )


def declare(broker: PostgresBroker) -> None:
    """Declare the actors: those of the first stage, and `follow`, which notes that it was told and by what."""

    def actor(function: Any, **options: Any) -> None:
        dramatiq.actor(function, broker=broker, queue_name="jobs", **options)

    def succeed(kind: str) -> str:
        return kind

    def end_itself(kind: str) -> str:
        if POINT in {"completing", "completed"}:
            meet()
        with completion():
            set_result(kind)
        if POINT == "completed":
            die()
        return kind

    def fail(kind: str) -> None:
        raise KeyError(kind)

    def follow(*told: Any) -> None:
        if POINT:  # Claimed between the verdicts' commit and the death: let the other worker run it.
            time.sleep(MEET_TIMEOUT_S)
        # The result, or the message that succeeded or failed, is the last but one or the last argument.
        kind = told[0]["args"][0] if isinstance(told[0], dict) else told[0]
        with Path(os.environ["NOTES"]).open("a") as notes:
            notes.write(f"{kind}\n")

    actor(succeed)
    actor(end_itself)
    actor(succeed, actor_name="succeed_and_tell", on_success="follow")
    actor(end_itself, actor_name="end_itself_and_tell", on_success="follow")
    actor(succeed, actor_name="store", store_results=True)
    actor(end_itself, actor_name="end_itself_and_store", store_results=True)
    actor(fail, actor_name="exhaust", on_retry_exhausted="follow")
    actor(fail, actor_name="throw", throws=KeyError, store_results=True, on_failure="follow")
    actor(follow)


if "NOTES" in os.environ:
    dramatiq.set_broker(make_broker())
    declare(dramatiq.get_broker())
