"""Actors of the acceptance tests that do something to their process: `callboard work tests.acceptance.process_jobs`."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from dramatiq.threading import raise_thread_exception

import actors  # noqa: F401 - names the broker that Dramatiq looks up
from callboard.app import actor
from tests.acceptance.jobs import hold

#: What grow() keeps until its process ends.
kept: list[bytearray] = []


def say(place: str, name: str) -> None:
    """Note which process ran what; one write in append mode, so that lines of several processes stay whole."""
    with Path(place, "ran").open("a") as ran:
        ran.write(f"{name} {os.getpid()}\n")


#: hold(), which a shutdown would interrupt.
hold_noticing = actor(queue_name="jobs", actor_name="hold_noticing", notify_shutdown=True)(hold.fn)


@actor(queue_name="jobs")
def note_process(place: str, name: str) -> None:
    say(place, name)


@actor(queue_name="jobs")
def grow(place: str, name: str) -> None:
    """Leak 100 MB, as a library that keeps what it should not."""
    kept.append(bytearray(os.urandom(1024) * 1024 * 100))
    say(place, name)


@actor(queue_name="jobs", min_backoff=60_000, max_backoff=60_000)
def fail_for_now(place: str, name: str) -> None:
    say(place, name)
    raise TimeoutError(f"{name} is not there yet.")


@actor(queue_name="jobs")
def hold_interpreter(place: str, name: str) -> None:
    """Match for ever, in C code that no other thread can run beside and no exception reaches."""
    say(place, name)
    re.fullmatch(r"(a|a)*b", "a" * 200)


@actor(queue_name="jobs")
def end_a_thread(place: str, name: str) -> None:
    """End this thread when it has nothing to run: so late may an exception come that was thrown into it."""
    threading.Timer(0.3, raise_thread_exception, (threading.get_ident(), SystemExit)).start()
    say(place, name)
