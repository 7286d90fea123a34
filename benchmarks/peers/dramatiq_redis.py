"""Dramatiq on its own Redis broker."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks import tally
from benchmarks.dramatiq_peer import DramatiqPeer, declare, worker
from benchmarks.peer import URL_VARIABLE

FILL_THREADS = 8

broker = RedisBroker(url=os.environ[URL_VARIABLE])
dramatiq.set_broker(broker)
MODULE = "benchmarks.peers.dramatiq_redis"


class DramatiqRedis(DramatiqPeer):
    """Default middleware; it has no way to send many at once."""

    title = "dramatiq on Redis"
    packages = ("dramatiq", "redis")
    backend = "redis"
    has_bulk = False
    noop, timed = declare()
    variants = (worker(MODULE, 16), worker(MODULE, 32), worker(MODULE, 8))
    idle = worker(MODULE, 8, processes=1)
    left = ("HLEN dramatiq:bench.msgs",)

    def fill(self, count: int) -> None:
        self.send(count, FILL_THREADS)


if __name__ == "__main__":
    DramatiqRedis().main()
else:
    tally.gate()
