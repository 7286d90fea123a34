"""What Callboard's own upkeep costs beside a large table: it reads what it deletes and counts, not what lies around.

Measured in pages touched and in the ways the rows are found, which a busy machine does not change.
"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from callboard.db import connect, sql
from tests.chaos.plans import Plan, explain

ROWS = {"short": 30_000, "long": 1_000_000}
HISTORY = """
INSERT INTO callboard.message_history (message_id, outcome, queue_name, actor_name, message, priority, attempt, retries,
    lost_workers, generation, enqueued_at, available_at, started_at, ended_at)
SELECT gen_random_uuid(), 'done', 'jobs', 'job', '{"actor_name": "job"}', 0, 1, 0, 0, 0, at, at, at, at
FROM (
    SELECT now() - interval '60 days' * (1 - n / %(rows)s::float8) AS at FROM generate_series(1, %(rows)s) AS n
) AS each
"""
ATTEMPTS = """
INSERT INTO callboard.attempts (message_id, generation, attempt, outcome, ended_at, error_class, traceback)
SELECT gen_random_uuid(), 0, 1, 'retry', now() - interval '60 days' * (1 - n / %(rows)s::float8), 'E', repeat('t', 300)
FROM generate_series(1, %(rows)s) AS n
"""
DEAD = """
INSERT INTO callboard.dead_letters (message_id, reason, queue_name, actor_name, message, priority, attempt, retries,
    lost_workers, generation, enqueued_at, died_at)
SELECT gen_random_uuid(), 'permanent', 'jobs', 'job', '{}', 0, 1, 0, 0, 0, at, at
FROM (
    SELECT now() - interval '120 days' * (1 - n / %(rows)s::float8) AS at FROM generate_series(1, %(rows)s) AS n
) AS each
"""
BACKLOG = """
INSERT INTO dramatiq.queue (message_id, queue_name, message, priority, enqueued_at, available_at)
SELECT gen_random_uuid(), 'queue' || n %% 4, '{"actor_name": "job"}', n %% 3, at, at
FROM (
    SELECT n, now() - interval '2 hours' AS at FROM generate_series(1, %(rows)s) AS n
) AS each
"""


class Table:
    """A database with much in it."""

    def __init__(self, url: str, rows: int) -> None:
        self.connection = connect(url, autocommit=True)
        with self.connection.cursor() as cursor:
            for statement, share in ((HISTORY, 1), (ATTEMPTS, 5), (DEAD, 10), (BACKLOG, 1)):
                cursor.execute(statement, {"rows": rows // share})
            cursor.execute("VACUUM ANALYZE")

    def look(self, name: str, days: float) -> Plan:
        """Explain a look for what is old, with the settings it is made with."""
        with self.connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
            plan = explain(self.connection, sql(f"retention/find_{name}"), {"days": days, "limit": 100_000})
            cursor.execute("RESET enable_seqscan")
        return plan

    def plan_of(self, name: str, **parameters: Any) -> Plan:
        return explain(self.connection, sql(name), parameters)


@pytest.fixture
def table(chaos_database_url, chaos_form):
    # The statements have a timeout of their own; filling takes longer.
    table = Table(chaos_database_url, ROWS[chaos_form])
    with closing(table.connection):
        yield table


def test_upkeep_reads_what_it_deletes_and_counts(table):
    # What is old is found by its index, in the pages where it lies
    for name in ("message_history", "attempts"):
        plan = table.look(name, days=59)
        assert plan.indexes(name) == {f"{name}_ended_idx"} and not plan.seq_scans(name), str(plan)
    # And deleted at its place
    with table.connection.cursor() as cursor:
        cursor.execute(sql("retention/find_message_history"), {"days": 30, "limit": 1000})
        (places,) = cursor.fetchone()
    plan = table.plan_of("retention/purge_message_history", days=30, places=places)
    assert plan.buffers < 10 * len(places) and not plan.seq_scans("message_history"), str(plan)
    # Dead letters by the order of their death, their attempts by their key
    plan = table.plan_of("retention/purge_dead_letters", days=90, limit=100)
    assert plan.indexes("dead_letters") >= {"dead_letters_died_idx"}, str(plan)
    assert plan.indexes("attempts") == {"attempts_pkey"}, str(plan)
    # A minute of throughput costs what happened in it, not the backlog
    with table.connection.cursor() as cursor:
        cursor.execute("SELECT date_trunc('minute', now())")
        (now,) = cursor.fetchone()
    plan = table.plan_of("throughput/roll_up", since=now - timedelta(minutes=4), until=now)
    for name in ("queue", "message_history", "attempts"):
        assert not plan.seq_scans(name), str(plan)
    assert plan.rows_removed("queue") == 0, str(plan)
    assert plan.buffers < 5_000, str(plan)
