"""What the peers on Dramatiq share: two actors, the command of a worker, and sending one message a call.

Imported by both interpreters, so it knows no broker: a peer makes its own, and sets it before it declares actors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import dramatiq

from benchmarks import tally
from benchmarks.peer import NOOP_ARGUMENT, Peer, Variant, send_spaced, time_threads


def declare(actor: Callable[..., Any] = dramatiq.actor) -> tuple[Any, Any]:
    """Declare the no-op actor and the one that notes how long its message took."""

    def noop(_number: int) -> None:
        tally.note()

    def timed(sent_at: float) -> None:
        tally.note_latency(sent_at)

    return actor(noop, queue_name="bench"), actor(timed, queue_name="bench")


def worker(module: str, threads: int, *options: str, processes: int = 2, is_fed: bool = False) -> Variant:
    """Return how Dramatiq's own command runs the actors of a module; options are of that command."""
    command = ("dramatiq", "-p", "1", "-t", str(threads), *options, module)
    return Variant(f"{processes} × {threads} threads", command, processes=processes, workers=processes, is_fed=is_fed)


class DramatiqPeer(Peer):
    """A peer whose messages are sent by an actor."""

    noop: ClassVar[Any]
    timed: ClassVar[Any]

    def send(self, count: int, threads: int) -> float:
        return time_threads(count, threads, lambda: self.noop.send(NOOP_ARGUMENT))

    def latency(self, count: int) -> None:
        send_spaced(count, self.timed.send)
