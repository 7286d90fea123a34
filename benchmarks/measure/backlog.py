"""Whether a long queue is slower than a short one: rate, first message and memory with 10 thousand and a million."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import costs
from benchmarks.contenders import Contender
from benchmarks.peer import Variant
from benchmarks.servers import Server
from benchmarks.workers import Workers

#: Messages over which the rates of a short and a long queue are compared.
FIRST_COUNT = 10_000
#: Messages after which a long queue's worker is looked at again.
LATER_COUNT = 50_000
TIMEOUT_S = 120


def backlog(waiting: int, variant: Variant, contender: Contender, server: Server) -> dict[str, Any]:
    """Drain the first messages of a queue that holds as many as waiting says."""
    url = server.fresh(f"bench_{contender.name}")
    contender.run("install", url=url)
    contender.run("fill", waiting, url=url)
    server.settle(url)
    first = min(waiting, FIRST_COUNT)
    with Workers(contender, variant, url) as workers:
        memory = _memory(workers)
        workers.go()
        first_passed_at = workers.wait_for(first, TIMEOUT_S)
        later = min(waiting, LATER_COUNT)
        later_passed_at = workers.wait_for(later, TIMEOUT_S)
        growth = max(now - before for now, before in zip(_memory(workers), memory, strict=True))
        begun_at, go_at = workers.figures()[0], workers.go_at
    return {
        "contender": contender.name,
        "variant": variant.name,
        "counts": True,
        "waiting": waiting,
        "per_s": first / (first_passed_at - begun_at),
        "per_s_later": later / (later_passed_at - begun_at),
        "first_s": begun_at - go_at,
        "first_after_process_start_s": _start_again(contender, variant, url) if waiting > later else None,
        "memory_growth_mb": growth / 1e6,
    }


def _memory(workers: Workers) -> list[int]:
    return [costs.memory_bytes([pid]) for pid in workers.running_pids()]


def _start_again(contender: Contender, variant: Variant, url: str) -> float:
    """Start the workers once more, without a gate, and return how long it took to the first message, s."""
    begun_at = time.time()
    with Workers(contender, variant, url, has_gate=False) as workers:
        workers.wait_for(1, TIMEOUT_S)
        return workers.figures()[0] - begun_at
