"""Reads from the database what a scenario left there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.invariants import Evidence, Row
from tests.conftest import wait_until

PLACES = """
    SELECT message_id::text, state::text, attempt, retries, lost_workers, lease_id, NULL, actor_name
    FROM dramatiq.queue
    UNION ALL
    SELECT message_id::text, outcome, attempt, retries, lost_workers, lease_id, NULL, actor_name
    FROM callboard.message_history
    UNION ALL
    SELECT message_id::text, 'dead', attempt, retries, lost_workers, NULL, reason, actor_name
    FROM callboard.dead_letters
"""
CONNECTIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'callboard%'
"""
ADVISORY_LOCKS = """
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
#: Metrics by name and outcome, and what the invariants call them.
COUNTERS = {
    ("callboard_messages_total", "done"): "done",
    ("callboard_retries_total", None): "retry",
    ("callboard_dead_letters_total", None): "dead",
    ("callboard_leases_lost_total", None): "lost",
    ("callboard_rescued_total", None): "rescued",
    ("callboard_in_progress", None): "in_progress",
}


def query(url: str, statement: str, *parameters: Any) -> list[Any]:
    """Run a statement on a connection of its own: the server may have been restarted since the last one."""
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []


def collect(evidence: Evidence, url: str, counters: Callable[[], dict[str, float]]) -> None:
    """Take down tables, counters, connections and locks, once the workers have come to rest."""

    def is_counted() -> bool:
        evidence.counters = counters()
        return evidence.counters["done"] == done and not evidence.counters["in_progress"]

    [(done,)] = query(url, "SELECT count(*) FROM callboard.message_history WHERE outcome = 'done'")
    with contextlib.suppress(pytest.fail.Exception):
        # A commit comes before its count. After a kill they may stay apart: the invariants say by how much.
        wait_until(is_counted, 2)
    with contextlib.suppress(pytest.fail.Exception):
        # A frozen or cut-off session ends a moment after the worker has made a new one.
        wait_until(lambda: query(url, ADVISORY_LOCKS)[0][0] <= evidence.advisory_locks_max, 5)
    [(evidence.connections,)] = query(url, CONNECTIONS)
    [(evidence.advisory_locks,)] = query(url, ADVISORY_LOCKS)
    evidence.rows = [Row(*row) for row in query(url, PLACES)]
    evidence.attempts = query(url, "SELECT message_id::text, attempt, outcome FROM callboard.attempts")
    evidence.effects = query(url, "SELECT message_id::text, lease_id FROM chaos_effects")


def sums_of(metrics: str) -> dict[str, float]:
    """Return the sums of a metrics page over all labels, by the names of the invariants."""
    sums = dict.fromkeys(COUNTERS.values(), 0.0)
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            name = COUNTERS.get((sample.name, sample.labels.get("outcome")))
            if name is not None:
                sums[name] += sample.value
    return sums
