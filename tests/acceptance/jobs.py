"""Actors of the acceptance tests, run as a team's own beside ours: `dramatiq tests.acceptance.jobs`.

They talk to the test through files in a folder, because they run in other processes.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import actors  # noqa: F401 - names the broker that Dramatiq looks up
from callboard.app import actor
from callboard.errors import PermanentError

HOLD_MAX_S = 60


@actor(queue_name="jobs")
def hold(place: str, name: str) -> None:
    """Say which process runs it, and run until the test lets it go."""
    Path(place, f"{name}.running.{os.getpid()}").touch()
    until = time.monotonic() + HOLD_MAX_S
    while not Path(place, f"{name}.go").exists():
        if time.monotonic() > until:
            raise TimeoutError(f"{name} was never let go.")
        time.sleep(0.02)


@actor(queue_name="jobs")
def note(place: str, name: str) -> None:
    """Write a line; one write in append mode, so that lines of several processes stay whole."""
    with Path(place, "notes").open("a") as notes:
        notes.write(f"{name}\n")


@actor(queue_name="jobs")
def kill_own_process(place: str, name: str) -> None:
    """Take the process down, as a fault in a library's C code or the kernel's memory killer would."""
    note(place, name)
    os.kill(os.getpid(), signal.SIGKILL)


@actor(queue_name="jobs", time_limit=500, time_limit_margin=500)
def block(place: str, name: str) -> None:
    """Say which process runs it, and wait for a byte that never comes, where no exception can be raised."""
    note(place, name)
    Path(place, f"{name}.running.{os.getpid()}").touch()
    ours, _theirs = socket.socketpair()
    ours.recv(1)


@actor(queue_name="jobs")
def refuse(place: str, name: str) -> None:
    """Fail for good."""
    raise PermanentError(f"There is no {name} in {place}.")


@actor(queue_name="jobs", max_retries=1, min_backoff=10, max_backoff=10)
def charge(place: str, name: str) -> None:
    """Fail as long as the file "fixed" is not there; of one of three causes, by the name's last digit."""
    if Path(place, "fixed").exists():
        note(place, name)
    elif name[-1] in "012":
        raise ValueError(f"order {name} has no price")
    elif name[-1] in "345":
        _look_up({}, name)
    else:
        _look_up({name: ""}, name)


def _look_up(prices: dict[str, str], name: str) -> float:
    return float(prices[f"{name}"])


@actor(queue_name="jobs")
def rest(place: str, name: str, seconds: float) -> None:
    """Take a while, without a trace."""
    time.sleep(seconds)
