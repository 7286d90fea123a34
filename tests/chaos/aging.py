"""A queue's table that ages: load, while a transaction that is held open keeps vacuum from removing anything."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import psycopg2

from tests.acceptance.processes import Process
from tests.chaos.stage import Stage
from tests.conftest import wait_until

#: By the database's clock, over the messages that ended last.
DRAIN_RATE = """
    SELECT count(*) / extract(epoch FROM max(ended_at) - min(started_at))::float8
    FROM (SELECT started_at, ended_at FROM callboard.message_history ORDER BY ended_at DESC LIMIT %s) AS drained
"""
DEAD_TUPLES = "SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'dramatiq.queue'::regclass"


class AgingTable:
    """Two workers on a table, and what ages it."""

    def __init__(self, stage: Stage, fresh_url: str, *, rate: float, full_s: float, half_s: float, sample: int) -> None:
        self.stage = stage
        #: An empty database on the same server, to compare with; no transaction is held open there.
        self.fresh_url = fresh_url
        self.sample = sample
        self._rate = rate
        self._full_s = full_s
        self._half_s = half_s
        self._senders: list[Process] = []
        self._holder: Any = psycopg2.connect(stage.url)

    def begin(self) -> None:
        """Hold a transaction open and start the load: full for a time, then half of it."""
        self.stage.work(2, threads=8)
        self._holder.set_session(isolation_level="REPEATABLE READ")
        with self._holder.cursor() as cursor:
            cursor.execute("SELECT txid_current()")
        half = self._rate / 2
        for seconds in (self._full_s, self._full_s + self._half_s):
            self._senders.append(self.stage.produce("note", rate=half, count=int(half * seconds)))

    def wait_for_the_load(self) -> None:
        total_s = self._full_s + self._half_s
        wait_until(
            lambda: all(sender.popen.poll() == 0 for sender in self._senders), total_s * 1.5 + 30, "the end of the load"
        )

    def release(self) -> None:
        """End the transaction that held everything back."""
        self._holder.close()

    def dead_tuples(self) -> int:
        return int(self.stage.db(DEAD_TUPLES)[0][0])


def drain_rates(stages: Sequence[Stage], sample: int, rounds: int = 3) -> list[float]:
    """Return how many messages a second the workers of each stage drain: the median of several bursts.

    The stages take turns, so that whatever else the machine does meanwhile is the same for all.
    """
    rates: list[list[float]] = [[] for _ in stages]
    for _ in range(rounds):
        for number, stage in enumerate(stages):
            stage.wait_until_drained(120)
            stage.pause()
            stage.fill(sample)
            stage.resume()
            stage.wait_until_drained(120)
            rates[number].append(float(stage.db(DRAIN_RATE, sample)[0][0]))
    return [statistics.median(each) for each in rates]
