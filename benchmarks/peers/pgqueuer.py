"""pgqueuer: asyncio workers that claim and log in batches."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks import tally
from benchmarks.peer import Peer, Variant, send_spaced_async, time_tasks

BULK_CHUNK = 1000


class Pgqueuer(Peer):
    """Its own command runs workers on uvloop, so we do too; the default durability keeps all its tables logged."""

    title = "pgqueuer"
    packages = ("pgqueuer", "asyncpg", "uvloop")
    variants = tuple(
        Variant(
            f"{processes} × batch {batch}",
            ("benchmarks.peers.pgqueuer", "work", str(batch)),
            processes=processes,
            workers=processes,
        )
        for processes in (2, 1)
        for batch in (500, 100)
    )
    idle = Variant("1 × batch 10", ("benchmarks.peers.pgqueuer", "work", "10"), processes=1, workers=1)
    recovery = Variant("2 × batch 10", ("benchmarks.peers.pgqueuer", "work", "10"))
    left = ("SELECT EXISTS (SELECT 1 FROM pgqueuer)",)

    def install(self) -> None:
        self._with_queries(lambda queries: queries.install())

    def fill(self, count: int) -> None:
        self.bulk(count)

    def send(self, count: int, threads: int) -> float:
        async def run(queries: Queries) -> float:
            return await time_tasks(count, threads, lambda: queries.enqueue("noop", b"1"))

        return float(self._with_queries(run, connections=threads))

    def bulk(self, count: int) -> float:
        async def run(queries: Queries) -> float:
            await queries.enqueue(["noop"], [b"1"], [0])
            begun = time.perf_counter()
            for first in range(0, count, BULK_CHUNK):
                size = min(BULK_CHUNK, count - first)
                await queries.enqueue(["noop"] * size, [b"1"] * size, [0] * size)
            return time.perf_counter() - begun

        return float(self._with_queries(run))

    def latency(self, count: int) -> None:
        async def run(queries: Queries) -> None:
            await send_spaced_async(count, lambda moment: queries.enqueue("timed", str(moment).encode()))

        self._with_queries(run)

    def hold(self, number: int) -> None:
        self._with_queries(lambda queries: queries.enqueue("held", str(number).encode()))

    def work(self, batch_size: int) -> None:
        uvloop.run(self._work(batch_size))

    async def _work(self, batch_size: int) -> None:
        async with asyncpg.create_pool(self.url, min_size=4, max_size=10) as pool:
            worker = PgQueuer(AsyncpgPoolDriver(pool))

            @worker.entrypoint("noop")
            async def noop(job: Job) -> None:
                tally.note()

            @worker.entrypoint("timed")
            async def timed(job: Job) -> None:
                tally.note_latency(float(job.payload or b"0"))

            @worker.entrypoint("held")
            async def held(job: Job) -> None:
                await asyncio.to_thread(tally.hold, int(job.payload or b"0"))

            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.shutdown.set)
            tally.gate()
            await worker.run(batch_size=batch_size)

    def _with_queries(self, use: Callable[[Queries], Awaitable[Any]], connections: int = 1) -> Any:
        async def run() -> Any:
            async with asyncpg.create_pool(self.url, min_size=connections, max_size=connections) as pool:
                return await use(Queries(AsyncpgPoolDriver(pool)))

        return uvloop.run(run())


if __name__ == "__main__":
    Pgqueuer().main()
