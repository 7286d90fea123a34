"""What workers cost that have nothing to do: queries and processor time."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from benchmarks import costs
from benchmarks.contenders import Contender
from benchmarks.peer import Variant
from benchmarks.servers import BenchFailed, Postgres, Server
from benchmarks.workers import Workers

#: Starting up is not idleness, s.
CALM_S = 8.0
_STATEMENT = re.compile(r"^\d+ (?P<application>[^|]*)\|LOG:  (?:statement|execute [^:]*): ")


def idle(seconds: float, contender: Contender, server: Server) -> list[dict[str, Any]]:
    """Watch one process, which leads, and then two; the follower's queries are the difference."""
    if not isinstance(server, Postgres):
        raise BenchFailed("Idle queries are counted in the log of Postgres only.")
    if contender.recovery is None:
        raise BenchFailed(f"{contender.name} names no variant of two processes.")
    one = _watch(seconds, contender.idle, contender, server)
    two = _watch(seconds, contender.recovery, contender, server)
    follower = {
        "queries_per_s": two["queries_per_s"] - one["queries_per_s"],
        "cpu_percent": max(two["cpu_percents"]),
        "server_cpu_percent": two["server_cpu_percent"] - one["server_cpu_percent"],
    }
    leader = {**one, "cpu_percent": max(one["cpu_percents"])}
    names = {"contender": contender.name, "variant": contender.idle.name, "counts": True, "seconds": seconds}
    return [{**names, "role": "leader", **leader}, {**names, "role": "follower", **follower}]


def _watch(seconds: float, variant: Variant, contender: Contender, server: Postgres) -> dict[str, Any]:
    url = server.fresh(f"bench_{contender.name}")
    contender.run("install", url=url)
    with Workers(contender, variant, url) as workers:
        workers.go()
        time.sleep(CALM_S)
        server.set("log_statement", "all")
        place, cpu_s, server_cpu_s = server.log_file.stat().st_size, _cpu_s(workers), server.cpu_s()
        time.sleep(seconds)
        passed = _cpu_s(workers)
        counts = _count(server, place)
        server.set("log_statement", "none")
        return {
            "queries_per_s": sum(counts.values()) / seconds,
            "queries_by_application": counts,
            "cpu_percents": [100 * (passed[pid] - cpu_s[pid]) / seconds for pid in cpu_s],
            "server_cpu_percent": 100 * (server.cpu_s() - server_cpu_s) / seconds,
        }


def _cpu_s(workers: Workers) -> Mapping[int, float]:
    return {pid: costs.cpu_s([pid]) for pid in workers.running_pids()}


def _count(server: Postgres, place: int) -> dict[str, int]:
    with server.log_file.open(encoding="utf-8", errors="replace") as file:
        file.seek(place)
        found: dict[str, int] = {}
        for line in file:
            if (match := _STATEMENT.match(line)) and match["application"] != "bench":
                found[match["application"]] = found.get(match["application"], 0) + 1
        return found
