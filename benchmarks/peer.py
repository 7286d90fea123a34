"""What a peer is: a class with a few verbs, in one file, run as a command of its own.

To add a peer: write benchmarks/peers/<name>.py with a subclass of Peer that ends in

    if __name__ == "__main__":
        MyPeer().main()

name it in benchmarks/contenders.py, and add its packages to benchmarks/requirements-peers.txt. The bench starts
`python -m benchmarks.peers.<name> <verb> …` for every verb below, and each variant's command as a worker.
This module is imported by every peer's interpreter, so it knows nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, ClassVar

#: The address of this peer's database, Postgres or Redis, in the environment of all of its processes.
URL_VARIABLE = "BENCH_URL"
#: What a message carries: as little as each peer allows.
NOOP_ARGUMENT = 1
LATENCY_GAP_S = 0.02


@dataclass(frozen=True)
class Variant:
    """One way to run the worker of a peer."""

    name: str
    #: Follows `python -m`. {port} stands for a free TCP port.
    command: tuple[str, ...]
    #: How often the command is started.
    processes: int = 2
    #: Processes that run messages in all; each of them passes tally.gate().
    workers: int = 2
    environment: tuple[tuple[str, str], ...] = ()
    #: Messages are sent while it drains, because waiting ones do harm; see Peer.feed.
    is_fed: bool = False
    #: Somebody starts a worker anew that was killed.
    is_supervised: bool = False
    #: Held against the targets; others are there to look at.
    counts: bool = True


class Peer:
    """One contender. Every verb runs in a fresh process."""

    #: As it is shown.
    title: ClassVar[str]
    #: Distributions whose versions are shown.
    packages: ClassVar[tuple[str, ...]]
    #: "postgres" or "redis": which server the bench provides.
    backend: ClassVar[str] = "postgres"
    #: How the worker processes may be run; the best one counts. The likely winner stands first: a quick run takes it.
    variants: ClassVar[tuple[Variant, ...]]
    #: One process that waits for messages: for the latency.
    idle: ClassVar[Variant]
    #: Two processes that may be killed; None: not measured.
    recovery: ClassVar[Variant | None] = None
    #: It can send many at once.
    has_bulk: ClassVar[bool] = True
    #: What the numbers do not say.
    remark: ClassVar[str] = ""
    #: SQL that tells whether a message is left (one boolean), or Redis commands whose numbers add up to what is left.
    left: ClassVar[tuple[str, ...]]

    @property
    def url(self) -> str:
        return os.environ[URL_VARIABLE]

    def install(self) -> None:
        """Make the schema in an empty database."""

    def fill(self, count: int) -> None:
        """Leave count no-op messages waiting, by the fastest way; not timed."""
        raise NotImplementedError

    def feed(self, count: int) -> None:
        """Send count no-op messages while the workers drain."""
        raise NotImplementedError

    def send(self, count: int, threads: int) -> float:
        """Send count no-op messages one by one from as many threads (or tasks), return the time it took, s."""
        raise NotImplementedError

    def bulk(self, count: int) -> float:
        """Send count no-op messages the fastest way there is, return the time it took, s.

        One more is sent before, not timed, as it opens the connection.
        """
        raise NotImplementedError

    def latency(self, count: int) -> None:
        """Send count messages 20 ms apart, each with the moment it was sent."""
        raise NotImplementedError

    def hold(self, number: int) -> None:
        """Send one message whose handler calls tally.hold(number)."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        versions = {name: version(name) for name in self.packages}
        return {
            "title": self.title,
            "versions": versions,
            "backend": self.backend,
            "variants": [asdict(variant) for variant in self.variants],
            "idle": asdict(self.idle),
            "recovery": self.recovery and asdict(self.recovery),
            "has_bulk": self.has_bulk,
            "remark": self.remark,
            "left": self.left,
        }

    def main(self) -> None:
        """Run one verb and print what it returns as the last line."""
        name, *arguments = sys.argv[1:]
        result = getattr(self, name)(*(int(argument) for argument in arguments))
        print(json.dumps(result), flush=True)


def time_threads(count: int, threads: int, send: Callable[[], object]) -> float:
    """Call send count times from as many threads and return the time it took, s.

    The first call of each thread opens its connection; it is counted, but not timed.
    """
    barrier = threading.Barrier(threads + 1)
    failures: list[BaseException] = []

    def run(share: int) -> None:
        try:
            send()
            barrier.wait()
            for _ in range(share - 1):
                send()
        except BaseException as error:
            failures.append(error)
            barrier.abort()
            raise

    workers = [threading.Thread(target=run, args=(share,), daemon=True) for share in shares(count, threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    begun = time.perf_counter()
    for worker in workers:
        worker.join()
    took_s = time.perf_counter() - begun
    if failures:
        raise failures[0]
    return took_s * count / (count - threads)


async def time_tasks(count: int, tasks: int, send: Callable[[], Awaitable[object]]) -> float:
    """Await send count times from as many tasks and return the time it took, s; see time_threads."""
    import asyncio

    async def run(share: int) -> None:
        for _ in range(share - 1):
            await send()

    await asyncio.gather(*(send() for _ in range(tasks)))
    begun = time.perf_counter()
    await asyncio.gather(*(run(share) for share in shares(count, tasks)))
    return (time.perf_counter() - begun) * count / (count - tasks)


def shares(count: int, parts: int) -> list[int]:
    """Split a number into as equal parts as there are. count must be more than parts."""
    return [count // parts + (number < count % parts) for number in range(parts)]


def send_spaced(count: int, send: Callable[[float], object]) -> None:
    """Call send with the present moment, count times 20 ms apart."""
    for _ in range(count):
        send(time.time())
        time.sleep(LATENCY_GAP_S)


async def send_spaced_async(count: int, send: Callable[[float], Awaitable[object]]) -> None:
    """Await send with the present moment, count times 20 ms apart."""
    import asyncio

    for _ in range(count):
        await send(time.time())
        await asyncio.sleep(LATENCY_GAP_S)
