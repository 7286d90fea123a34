"""Worker processes that are only rows and locks: whoever plays them decides when they live, freeze and die."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2

from callboard.broker.liveness.heartbeat import MAX_LOST_WORKERS
from callboard.db import sql
from callboard.terms import BEAT_OVERDUE_S

Query = Callable[..., list[Any]]


@contextlib.contextmanager
def opened(url: str) -> Iterator[Query]:
    """Lend a function that runs a statement, with positional or named parameters, and returns its rows."""
    connection = psycopg2.connect(url)
    connection.autocommit = True

    def query(statement: str, *parameters: Any, **named: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, named or parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    try:
        yield query
    finally:
        connection.close()


class Workers:
    """What one process does to another's row, statement by statement."""

    def __init__(self, db: Query) -> None:
        self._db = db

    def register(self) -> str:
        worker_id = str(uuid.uuid4())
        self._db(
            "INSERT INTO callboard.workers (worker_id, hostname, pid, queues, threads, version) "
            "VALUES (%s, 'host', 1, '{jobs}', 1, '0')",
            worker_id,
        )
        return worker_id

    def claim(self, worker_id: str) -> None:
        """Claim the one message there is, as the worker's intake does."""
        assert len(self.claimed(worker_id)) == 1

    def claimed(self, worker_id: str) -> list[Any]:
        """Claim one message as the worker's intake does, and return it if there was one."""
        parameters = {"queue_names": ["jobs"], "limit": 1, "per_queue": 1, "worker_id": worker_id}
        bounds: dict[str, Any] = {"bound_queues": [], "bound_priorities": [], "bound_moments": []}
        *rows, _ = self._db(sql("claiming/claim"), **parameters, **bounds)
        return rows or self._db(sql("claiming/claim_alone"), **parameters)

    def lose_row(self) -> None:
        """Claim the one message for a worker whose row is gone right after."""
        worker_id = self.register()
        self.claim(worker_id)
        self._db("DELETE FROM callboard.workers WHERE worker_id = %s", worker_id)

    def look(self) -> int:
        """Look for the dead once, as the leader does."""
        return self._db(sql("liveness/suspect"), beat_overdue_s=BEAT_OVERDUE_S)[0][0]

    def rescue(self) -> list[Any]:
        rows = self._db(sql("liveness/rescue"), beat_overdue_s=BEAT_OVERDUE_S, max_lost_workers=MAX_LOST_WORKERS)
        return [row[:4] for row in rows]

    def let_two_seconds_pass(self) -> None:
        self._db("UPDATE callboard.workers SET suspected_at = suspected_at - interval '2 seconds'")

    def silence(self, worker_id: str, seconds: float) -> None:
        self._db(
            "UPDATE callboard.workers SET beat_at = now() - %s * interval '1 second' WHERE worker_id = %s",
            seconds,
            worker_id,
        )


@contextlib.contextmanager
def held_lock(url: str, worker_id: str) -> Iterator[None]:
    """Hold a worker's liveness lock, as its own connection does."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    statement = (
        "SELECT pg_advisory_lock(hashtext('callboard.worker'), lock_key) FROM callboard.workers WHERE worker_id = %s"
    )
    connection.cursor().execute(statement, (worker_id,))
    yield
    connection.close()
