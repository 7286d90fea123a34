"""How fast the workers empty a queue, and what that costs.

The messages wait already and the workers stand at the gate, imports done. The clock runs from the first message's
start to the moment the database holds no message any more; the time from the gate's opening to the first start is
given beside it.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from benchmarks import costs
from benchmarks.contenders import Contender
from benchmarks.peer import Variant
from benchmarks.servers import BenchFailed, Server
from benchmarks.workers import Workers

#: Longest drain, s.
DRAIN_TIMEOUT_S = 400
LEFT_LOOK_S = 0.005
#: How long the last verdicts may take to be written, s.
LEFT_TIMEOUT_S = 30


def drain(variant: Variant, count: int, contender: Contender, server: Server) -> dict[str, Any]:
    """Drain count messages once."""
    url = server.fresh(f"bench_{contender.name}")
    contender.run("install", url=url)
    if not variant.is_fed:
        contender.run("fill", count, url=url)
    server.settle(url)
    with Workers(contender, variant, url) as workers:
        written, clock, machine_cpu_s = server.written_bytes(), time.monotonic(), costs.machine_cpu_s()
        server_cpu_s, client_cpu_s, own_cpu_s = server.cpu_s(), workers.cpu_s(), time.process_time()
        workers.go()
        if variant.is_fed:
            feeding = threading.Thread(target=contender.run, args=("feed", count), kwargs={"url": url}, daemon=True)
            feeding.start()
        workers.wait_for(count, DRAIN_TIMEOUT_S)
        ended_at = _wait_until_empty(contender, server, url)
        client_cpu_s, server_cpu_s = workers.cpu_s() - client_cpu_s, server.cpu_s() - server_cpu_s
        known_cpu_s = client_cpu_s + server_cpu_s + time.process_time() - own_cpu_s
        foreign_cpu_s = costs.machine_cpu_s() - machine_cpu_s - known_cpu_s
        passed_s = time.monotonic() - clock
        written = server.written_bytes() - written
        first_at, last_at, ran = workers.figures()
        go_at = workers.go_at
    return {
        "contender": contender.name,
        "variant": variant.name,
        "counts": variant.counts,
        "messages": count,
        "ran_twice": ran - count,
        "per_s": count / (ended_at - first_at),
        "seconds": ended_at - first_at,
        "seconds_to_last_start": last_at - first_at,
        "startup_s": first_at - go_at,
        "server_cpu_s_per_1000": 1000 * server_cpu_s / count,
        "client_cpu_s_per_1000": 1000 * client_cpu_s / count,
        # Of all cores; it tells how much of the machine others had meanwhile (a feeding sender is among them).
        "foreign_cpu_percent": 100 * max(foreign_cpu_s, 0) / (passed_s * len(os.sched_getaffinity(0))),
        "log_bytes_per_message": written / count,
    }


def _wait_until_empty(contender: Contender, server: Server, url: str) -> float:
    until = time.time() + LEFT_TIMEOUT_S
    while server.has_left(url, contender.left):
        if time.time() > until:
            raise BenchFailed(f"{contender.name} ran everything, but messages are left {LEFT_TIMEOUT_S} s later.")
        time.sleep(LEFT_LOOK_S)
    return time.time()
