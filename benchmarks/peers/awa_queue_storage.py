"""awa on its newer storage, which has to be switched on: much faster COPY, a slower drain."""

from __future__ import annotations

from typing import Any

from awa import AsyncClient

from benchmarks.peers.awa import QUEUE, Awa, worker


class AwaQueueStorage(Awa):
    """Its append-only segments keep the table clean at the price of more statements a message."""

    title = "awa, queue storage"
    module = "benchmarks.peers.awa_queue_storage"
    variants = (worker(module, 100), worker(module, 500))
    idle = worker(module, 100, processes=1)

    async def prepare(self, client: AsyncClient) -> None:
        await client.migrate()
        await client.install_queue_storage()

    async def copy(self, client: AsyncClient, jobs: list[Any]) -> None:
        await client.enqueue_many_copy(jobs, queue=QUEUE)


if __name__ == "__main__":
    AwaQueueStorage().main()
