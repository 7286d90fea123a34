"""callboard.broker.PostgresBroker on its own, as somebody else's actors use it: full history, few middleware."""

from __future__ import annotations

import logging
import os
import time

import dramatiq

from benchmarks import tally
from benchmarks.ours import copy_waiting
from benchmarks.peer import NOOP_ARGUMENT, URL_VARIABLE, Peer, Variant, send_spaced, time_threads
from callboard.broker import PostgresBroker, send_many, set_default_broker
from callboard.db import Pool, schema
from middleware import RetryLimits

logging.getLogger().setLevel(logging.WARNING)
broker = PostgresBroker(
    url=os.environ[URL_VARIABLE],
    pool=Pool(os.environ[URL_VARIABLE], size=10),
    middleware=[RetryLimits(lambda _queue: 5)],
)
dramatiq.set_broker(broker)
set_default_broker(broker)


@dramatiq.actor(queue_name="bench")
def noop(_number: int) -> None:
    tally.note()


@dramatiq.actor(queue_name="bench")
def timed(sent_at: float) -> None:
    tally.note_latency(sent_at)


def worker(threads: int, module: str = "benchmarks.ours.broker", processes: int = 2) -> Variant:
    """Return how Dramatiq's own command runs our broker."""
    command = ("dramatiq", "-p", "1", "-t", str(threads), "--skip-logging", module)
    return Variant(f"{processes} × {threads} threads", command, processes=processes, workers=processes)


class Broker(Peer):
    """The broker with leases, fences, dedupe index and history; of middleware only the retry limits."""

    title = "callboard, the broker"
    packages = ("callboard", "dramatiq", "psycopg2-binary")
    variants = (worker(8), worker(4), worker(2), worker(1))
    idle = worker(8, processes=1)
    left = ("SELECT EXISTS (SELECT 1 FROM dramatiq.queue)",)

    def install(self) -> None:
        schema.upgrade(self.url)

    def fill(self, count: int) -> None:
        self.bulk(1)
        copy_waiting(self.url, count - 1)

    def send(self, count: int, threads: int) -> float:
        return time_threads(count, threads, lambda: noop.send(NOOP_ARGUMENT))

    def bulk(self, count: int) -> float:
        begun = time.perf_counter()
        send_many(noop.message(NOOP_ARGUMENT) for _ in range(count))
        return time.perf_counter() - begun

    def latency(self, count: int) -> None:
        send_spaced(count, timed.send)


if __name__ == "__main__":
    Broker().main()
else:
    tally.gate()
