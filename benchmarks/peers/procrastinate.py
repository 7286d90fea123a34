"""procrastinate: asyncio workers, one claim and one end a job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import procrastinate

from benchmarks import tally
from benchmarks.peer import NOOP_ARGUMENT, Peer, Variant, send_spaced_async, time_tasks

BULK_CHUNK = 1000
#: Makes a worker's pool large enough for its concurrent jobs.
POOL_SIZE = 20


def worker(concurrency: int, processes: int = 2) -> Variant:
    return Variant(
        f"{processes} × {concurrency} tasks",
        ("benchmarks.peers.procrastinate", "work", str(concurrency)),
        processes=processes,
        workers=processes,
    )


class Procrastinate(Peer):
    """Async tasks, as its sync ones go through a thread each; ended jobs are deleted, which is the fastest."""

    title = "procrastinate"
    packages = ("procrastinate", "psycopg")
    variants = (worker(8), worker(4))
    idle = worker(8, processes=1)
    left = ("SELECT EXISTS (SELECT 1 FROM procrastinate_jobs)",)

    def __init__(self) -> None:
        self._app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(conninfo=self.url, min_size=1, max_size=POOL_SIZE)
        )

        @self._app.task(queue="bench")
        async def noop(number: int) -> None:
            tally.note()

        @self._app.task(queue="bench")
        async def timed(sent_at: float) -> None:
            tally.note_latency(sent_at)

        self._noop, self._timed = noop, timed

    def install(self) -> None:
        self._with_app(self._app.schema_manager.apply_schema_async)

    def fill(self, count: int) -> None:
        self.bulk(count)

    def send(self, count: int, threads: int) -> float:
        send = lambda: self._noop.defer_async(number=NOOP_ARGUMENT)  # noqa: E731 - one name for one call
        return float(self._with_app(lambda: time_tasks(count, threads, send)))

    def bulk(self, count: int) -> float:
        async def run() -> float:
            await self._noop.batch_defer_async({"number": NOOP_ARGUMENT})
            begun = time.perf_counter()
            for first in range(0, count, BULK_CHUNK):
                size = min(BULK_CHUNK, count - first)
                await self._noop.batch_defer_async(*({"number": NOOP_ARGUMENT} for _ in range(size)))
            return time.perf_counter() - begun

        return float(self._with_app(run))

    def latency(self, count: int) -> None:
        self._with_app(lambda: send_spaced_async(count, lambda moment: self._timed.defer_async(sent_at=moment)))

    def work(self, concurrency: int) -> None:
        async def run() -> None:
            tally.gate()
            await self._app.run_worker_async(queues=["bench"], concurrency=concurrency, delete_jobs="always")

        self._with_app(run)

    def _with_app(self, use: Callable[[], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with self._app.open_async():
                return await use()

        return asyncio.run(run())


if __name__ == "__main__":
    Procrastinate().main()
