"""callboard.broker.PostgresBroker on its own, as somebody else's actors use it: full history, few middleware."""

from __future__ import annotations

import logging
import os

import dramatiq

from benchmarks import tally
from benchmarks.dramatiq_peer import declare, worker
from benchmarks.ours import OurPeer
from benchmarks.peer import URL_VARIABLE
from callboard.broker import PostgresBroker, set_default_broker
from callboard.db import Pool
from middleware import RetryLimits

logging.getLogger().setLevel(logging.WARNING)
broker = PostgresBroker(
    url=os.environ[URL_VARIABLE],
    pool=Pool(os.environ[URL_VARIABLE], size=10),
    middleware=[RetryLimits(lambda _queue: 5)],
)
dramatiq.set_broker(broker)
set_default_broker(broker)
MODULE = "benchmarks.ours.broker"


class Broker(OurPeer):
    """The broker with leases, fences, dedupe index and history; of middleware only the retry limits."""

    title = "callboard, the broker"
    noop, timed = declare()
    variants = (
        worker(MODULE, 8, "--skip-logging"),
        worker(MODULE, 4, "--skip-logging"),
        worker(MODULE, 2, "--skip-logging"),
        worker(MODULE, 1, "--skip-logging"),
    )
    idle = worker(MODULE, 8, "--skip-logging", processes=1)


if __name__ == "__main__":
    Broker().main()
else:
    tally.gate()
