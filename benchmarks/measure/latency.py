"""How long a message takes from its send to its actor's start, while the worker has nothing else to do."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.servers import Server
from benchmarks.workers import Workers

#: A worker that has just started is not idle yet, s.
WARM_UP_S = 3.0
#: Messages before the counted ones, by the same sender: connections and plans are warm then, and settings are read.
WARM_UP_COUNT = 20
ARRIVAL_TIMEOUT_S = 30


def latency(count: int, contender: Contender, server: Server) -> dict[str, Any]:
    """Send count messages 20 ms apart to one idle worker process."""
    url = server.fresh(f"bench_{contender.name}")
    contender.run("install", url=url)
    server.settle(url)
    with Workers(contender, contender.idle, url) as workers:
        workers.go()
        time.sleep(WARM_UP_S)
        contender.run("latency", WARM_UP_COUNT + count, url=url)
        _wait_for(workers, WARM_UP_COUNT + count)
        found = sorted(workers.latencies()[WARM_UP_COUNT:])
    return {
        "contender": contender.name,
        "variant": contender.idle.name,
        "counts": True,
        "messages": count,
        "p50_ms": 1000 * found[len(found) // 2],
        "p99_ms": 1000 * found[int(len(found) * 0.99)],
        "slowest_ms": 1000 * found[-1],
    }


def _wait_for(workers: Workers, count: int) -> None:
    until = time.monotonic() + ARRIVAL_TIMEOUT_S
    while len(workers.latencies()) < count:
        workers.check()
        if time.monotonic() > until:
            raise workers.failure(f"{len(workers.latencies())} of {count} messages had started after the last was sent")
        time.sleep(0.02)
