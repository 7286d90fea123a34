"""The whole service as `callboard work` runs it: production middleware, supervisor, metrics, history."""

from __future__ import annotations

import time

from benchmarks import tally
from benchmarks.ours import copy_waiting
from benchmarks.peer import NOOP_ARGUMENT, Peer, Variant, send_spaced, time_threads
from callboard.app import actor, database_url
from callboard.broker import send_many
from callboard.db import schema


@actor(queue_name="bench")
def noop(_number: int) -> None:
    tally.note()


@actor(queue_name="bench")
def timed(sent_at: float) -> None:
    tally.note_latency(sent_at)


@actor(queue_name="bench")
def held(number: int) -> None:
    tally.hold(number)


def work(threads: int, *, processes: int = 2, log_level: str = "warning") -> Variant:
    """Return how `callboard work` is run, with a port for its metrics and JSON lines as in production."""
    environment = {
        "WORKER_PROCESSES": str(processes),
        "JOB_CONCURRENCY": str(threads),
        "LOG_LEVEL": log_level,
        "LOG_FORMAT": "json",
        "METRICS_HOST": "127.0.0.1",
        "METRICS_PORT": "{port}",
    }
    return Variant(
        f"{processes} × {threads} threads, log level {log_level}",
        ("callboard.cli", "work", "benchmarks.ours.service"),
        processes=1,
        workers=processes,
        environment=tuple(environment.items()),
        is_supervised=True,
        counts=log_level == "warning",
    )


class Service(Peer):
    """Nothing is left out but the log lines below a warning; the default, info, is shown beside it."""

    title = "callboard, the service"
    packages = ("callboard", "dramatiq", "psycopg2-binary")
    variants = (work(8), work(4), work(2), work(8, log_level="info"))
    idle = work(8, processes=1)
    recovery = work(8)
    left = ("SELECT EXISTS (SELECT 1 FROM dramatiq.queue)",)

    def install(self) -> None:
        schema.upgrade(database_url())

    def fill(self, count: int) -> None:
        self.bulk(1)
        copy_waiting(self.url, count - 1)

    def hold(self, number: int) -> None:
        held.send(number)

    def send(self, count: int, threads: int) -> float:
        return time_threads(count, threads, lambda: noop.send(NOOP_ARGUMENT))

    def bulk(self, count: int) -> float:
        begun = time.perf_counter()
        send_many(noop.message(NOOP_ARGUMENT) for _ in range(count))
        return time.perf_counter() - begun

    def latency(self, count: int) -> None:
        send_spaced(count, timed.send)


if __name__ == "__main__":
    Service().main()
else:
    tally.gate()
