"""How fast messages are sent: one by one, from one thread and from eight, and many at once."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders import Contender
from benchmarks.servers import Server


def send(count: int, threads: int, contender: Contender, server: Server) -> dict[str, Any]:
    """Send count messages one by one."""
    return _measure(contender, server, "send", count, threads)


def bulk(count: int, contender: Contender, server: Server) -> dict[str, Any]:
    """Send count messages the fastest way the contender has."""
    return _measure(contender, server, "bulk", count)


def _measure(contender: Contender, server: Server, verb: str, count: int, *more: int) -> dict[str, Any]:
    url = server.fresh(f"bench_{contender.name}")
    contender.run("install", url=url)
    server.settle(url)
    written, server_cpu_s = server.written_bytes(), server.cpu_s()
    seconds = contender.run(verb, count, *more, url=url)
    return {
        "contender": contender.name,
        "variant": f"{more[0]} thread{'s' if more[0] > 1 else ''}" if more else "at once",
        "counts": True,
        "messages": count,
        "per_s": count / seconds,
        "seconds": seconds,
        "server_cpu_s_per_1000": 1000 * (server.cpu_s() - server_cpu_s) / count,
        "log_bytes_per_message": (server.written_bytes() - written) / count,
    }
