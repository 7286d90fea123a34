"""awa: a Rust engine with Python handlers; here on the storage that a fresh installation has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from awa import AsyncClient

from benchmarks import tally
from benchmarks.peer import NOOP_ARGUMENT, Peer, Variant, send_spaced_async, time_tasks

BULK_CHUNK = 1000
QUEUE = "bench"


@dataclass
class Noop:
    """A message of which only the number counts."""

    number: int


@dataclass
class Timed:
    """A message of the latency."""

    sent_at: float


def worker(module: str, tasks: int, processes: int = 2) -> Variant:
    return Variant(f"{processes} × {tasks} tasks", (module, "work", str(tasks)), processes=processes, workers=processes)


class Awa(Peer):
    """Sending many is its COPY; a dispatcher a process with its default of claimers."""

    title = "awa"
    packages = ("awa-pg",)
    module: ClassVar[str] = "benchmarks.peers.awa"
    variants = (worker(module, 500), worker(module, 100))
    idle = worker(module, 100, processes=1)
    left = ("SELECT EXISTS (SELECT 1 FROM awa.jobs WHERE state::text <> 'completed')",)

    async def prepare(self, client: AsyncClient) -> None:
        await client.migrate()

    async def copy(self, client: AsyncClient, jobs: list[Any]) -> None:
        await client.insert_many_copy(jobs, queue=QUEUE)

    def install(self) -> None:
        self._with_client(self.prepare)

    def fill(self, count: int) -> None:
        self.bulk(count)

    def send(self, count: int, threads: int) -> float:
        async def run(client: AsyncClient) -> float:
            return await time_tasks(count, threads, lambda: client.insert(Noop(NOOP_ARGUMENT), queue=QUEUE))

        return float(self._with_client(run))

    def bulk(self, count: int) -> float:
        async def run(client: AsyncClient) -> float:
            await self.copy(client, [Noop(NOOP_ARGUMENT)])
            begun = time.perf_counter()
            for first in range(0, count, BULK_CHUNK):
                await self.copy(client, [Noop(NOOP_ARGUMENT)] * min(BULK_CHUNK, count - first))
            return time.perf_counter() - begun

        return float(self._with_client(run))

    def latency(self, count: int) -> None:
        async def run(client: AsyncClient) -> None:
            await send_spaced_async(count, lambda moment: client.insert(Timed(moment), queue=QUEUE))

        self._with_client(run)

    def work(self, tasks: int) -> None:
        async def run(client: AsyncClient) -> None:
            @client.task(Noop, queue=QUEUE)
            async def noop(job: Any) -> None:
                tally.note()

            @client.task(Timed, queue=QUEUE)
            async def timed(job: Any) -> None:
                tally.note_latency(job.args.sent_at)

            tally.gate()
            await client.start([(QUEUE, tasks)])
            await asyncio.Event().wait()

        self._with_client(run)

    def _with_client(self, use: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            # Its driver wants a host's name even where the socket's folder is given.
            client = AsyncClient(self.url.replace("@/", "@localhost/"))
            try:
                return await use(client)
            finally:
                await client.close()

        return asyncio.run(run())


if __name__ == "__main__":
    Awa().main()
