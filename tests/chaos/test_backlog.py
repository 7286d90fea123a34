"""A backlog of a million: the first message starts at once, memory and locks do not grow with it."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time

from callboard.broker.claiming.claimer import Claimer
from callboard.db import connect
from tests.chaos.stage import Stage, Worker
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import Workers

RSS_GROWTH_MAX_KB = 50_000
FIRST_MAX_S = 2.0
CLAIM_MAX_S = 0.05
RELEASE = """
    UPDATE dramatiq.queue
    SET state = 'queued', attempt = 0, lease_id = NULL, worker_id = NULL, claimed_at = NULL WHERE worker_id = %s
"""


def rss_kb(worker: Worker) -> int:
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(worker.pid)], capture_output=True, text=True, check=True)
    return int(shown.stdout)


def claim_p99_s(stage: Stage, count: int) -> float:
    """Time claims of 100 messages each; all of them are taken back. For moments in which no worker leads."""
    worker_id = Workers(stage.db).register()
    claimer = Claimer(worker_id, ["chaos"], is_prepared=True)
    seconds = []
    with contextlib.closing(connect(stage.url, autocommit=True)) as connection:
        for _ in range(count):
            began = time.monotonic()
            assert len(claimer.claim(connection, 100).claims) == 100
            seconds.append(time.monotonic() - began)
    stage.db(RELEASE, worker_id)
    stage.db("DELETE FROM callboard.workers WHERE worker_id = %s", worker_id)
    return statistics.quantiles(seconds, n=100)[98]


def first_message_after_s(stage: Stage, worker: Worker) -> float:
    """Return the time from a worker's registration to its first message, by the database's clock."""
    statement = """
        SELECT extract(epoch FROM min(history.started_at) - min(workers.started_at))::float8
        FROM callboard.workers JOIN callboard.message_history AS history USING (worker_id)
        WHERE workers.pid = %s HAVING count(*) > 0
    """
    [(seconds,)] = wait_until(lambda: stage.db(statement, worker.pid), 30, "the worker's first message")
    return float(seconds)


def test_a_large_backlog_costs_neither_memory_nor_time_nor_locks(on_stage, is_long):
    count, drain_s, claims = (1_000_000, 20, 100) if is_long else (20_000, 1, 20)
    with on_stage(f"C-09 a backlog of {count:,} messages") as stage:
        # Given what claims take with few messages, then with many
        stage.fill(101 * claims)
        p99_small_s = claim_p99_s(stage, claims)
        stage.fill(count - 101 * claims)
        stage.db("ANALYZE dramatiq.queue")
        p99_s = claim_p99_s(stage, claims)
        # And a worker that waits while the queue is paused
        stage.pause()
        [worker] = stage.work(1, threads=8)
        rss_before_kb, rss_max_kb, locks_max = rss_kb(worker), 0, 0
        # When it begins to drain the backlog
        stage.resume()
        stage.wait_for_runs(lambda _: True)
        until = time.monotonic() + drain_s
        while time.monotonic() < until and stage.has_queued(10_000):
            rss_max_kb = max(rss_max_kb, rss_kb(worker))
            statement = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = %s::oid"
            [(database,)] = stage.db("SELECT oid::text FROM pg_database WHERE datname = current_database()")
            locks_max = max(locks_max, stage.db(statement, database)[0][0])
        # And another one takes its place while much is left
        stage.end(worker)
        [newcomer] = stage.work(1, threads=8)
        first_s = first_message_after_s(stage, newcomer)
        stage.end(newcomer)
        # Then each message is where it was or done, once
        places = "SELECT message_id FROM dramatiq.queue UNION ALL SELECT message_id FROM callboard.message_history"
        assert stage.db(f"SELECT count(*), count(DISTINCT message_id) FROM ({places}) AS places") == [(count, count)]
        stage.fill(101 * claims)
        p99_s = max(p99_s, claim_p99_s(stage, claims))
        stage.db("DELETE FROM dramatiq.queue WHERE state = 'queued'")
        stage.evidence.sent = {row[0] for row in stage.db("SELECT message_id::text FROM callboard.message_history")}
        growth_kb = rss_max_kb - rss_before_kb
        stage.remarks.append(
            f"first message after {first_s:.2f} s, "
            f"claim p99 {p99_s * 1000:.0f} ms ({p99_small_s * 1000:.0f} with few), memory +{growth_kb / 1000:.0f} MB, "
            f"at most {locks_max} locks"
        )
        stage.finish()
        # And neither memory nor locks nor time grew with the backlog
        assert growth_kb < RSS_GROWTH_MAX_KB
        assert locks_max <= 4
        assert first_s < (FIRST_MAX_S if is_long else 5 * FIRST_MAX_S)
        # The machine may have other things to do: then claims from a small backlog take longer too.
        assert p99_s < max(CLAIM_MAX_S, 3 * p99_small_s) * (1 if is_long else 5)
