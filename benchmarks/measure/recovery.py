"""How long after kill -9 of its worker a message starts elsewhere."""

from __future__ import annotations

import os
import random
import signal
import time
from statistics import median
from typing import Any

from benchmarks import tally
from benchmarks.contenders import Contender
from benchmarks.peer import Variant
from benchmarks.servers import BenchFailed, Server
from benchmarks.workers import Workers

#: Longest wait for a start; who takes longer has not recovered, s.
START_TIMEOUT_S = 90
#: Pause before each message, random so that kills meet every phase of the rescue's timers, s.
PAUSE_S = (2.0, 4.0)


def recovery(kills: int, variant: Variant, contender: Contender, server: Server) -> dict[str, Any]:
    """Kill the process that runs a message, kills times."""
    url = server.fresh(f"bench_{contender.name}")
    contender.run("install", url=url)
    found = []
    with Workers(contender, variant, url) as workers:
        workers.go()
        for number in range(kills):
            _wait_for_both(workers)
            time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - jitter, not cryptography
            found.append(_kill_one(workers, contender, url, number))
            if not variant.is_supervised:
                workers.start_one()
    return {
        "contender": contender.name,
        "variant": variant.name,
        "counts": True,
        "kills": kills,
        "median_s": median(found),
        "slowest_s": max(found),
        "all_s": [round(seconds, 2) for seconds in found],
    }


def _kill_one(workers: Workers, contender: Contender, url: str, number: int) -> float:
    contender.run("hold", number, url=url)
    [(pid, _)] = _wait_for_starts(workers, number, 1)
    killed_at = time.time()
    os.kill(pid, signal.SIGKILL)
    again_at = _wait_for_starts(workers, number, 2)[1][1]
    (workers.folder / f"release-{number}").touch()
    return again_at - killed_at


def _wait_for_starts(workers: Workers, number: int, count: int) -> list[tuple[int, float]]:
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        path = workers.folder / tally.STARTS_FILE
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        starts = [(int(pid), float(moment)) for key, pid, moment in lines if int(key) == number]
        if len(starts) >= count:
            return starts
        if time.monotonic() > until:
            raise BenchFailed(f"{workers.contender.name}: message {number} had not started after {START_TIMEOUT_S} s.")
        time.sleep(0.005)


def _wait_for_both(workers: Workers) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while len(workers.running_pids()) < workers.variant.workers:
        if time.monotonic() > until:
            raise workers.failure("the killed worker was not replaced")
        time.sleep(0.05)
