"""Dramatiq on its own Redis broker."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks import tally
from benchmarks.peer import NOOP_ARGUMENT, URL_VARIABLE, Peer, Variant, send_spaced, time_threads

FILL_THREADS = 8

broker = RedisBroker(url=os.environ[URL_VARIABLE])
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench")
def noop(_number: int) -> None:
    tally.note()


@dramatiq.actor(queue_name="bench")
def timed(sent_at: float) -> None:
    tally.note_latency(sent_at)


def worker(threads: int, processes: int = 2) -> Variant:
    command = ("dramatiq", "-p", "1", "-t", str(threads), "benchmarks.peers.dramatiq_redis")
    return Variant(f"{processes} × {threads} threads", command, processes=processes, workers=processes)


class DramatiqRedis(Peer):
    """Default middleware; it has no way to send many at once."""

    title = "dramatiq on Redis"
    packages = ("dramatiq", "redis")
    backend = "redis"
    has_bulk = False
    variants = (worker(16), worker(32), worker(8))
    idle = worker(8, processes=1)
    left = ("HLEN dramatiq:bench.msgs",)

    def fill(self, count: int) -> None:
        self.send(count, FILL_THREADS)

    def send(self, count: int, threads: int) -> float:
        return time_threads(count, threads, lambda: noop.send(NOOP_ARGUMENT))

    def latency(self, count: int) -> None:
        send_spaced(count, timed.send)


if __name__ == "__main__":
    DramatiqRedis().main()
else:
    tally.gate()
