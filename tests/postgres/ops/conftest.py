"""A database of each kind of server, looked at and changed the way the skins over callboard.ops do it."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import psycopg2
import pytest

from callboard.db import Pool, sql
from callboard.ops.audit import Operator
from tests.postgres.ops.scene import Scene

ANN = Operator("ann@host", "cli", "the mail server is back")
BOB = Operator("bob@host", "cli")


@pytest.fixture
def transactions(each_database_url: str) -> Iterator[Callable[[], AbstractContextManager[Any]]]:
    """Lend cursors, each in a transaction of its own."""
    pool = Pool(each_database_url)
    yield lambda: pool.cursor(20)
    pool.close()


@pytest.fixture
def db(each_database_url: str) -> Iterator[Callable[..., list[Any]]]:
    """Run a statement on a connection of its own and return its rows."""
    connection = psycopg2.connect(each_database_url, options="-c timezone=UTC")
    connection.autocommit = True

    def query(statement: str, *parameters: Any, **named: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, named or parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    yield query
    connection.close()


@pytest.fixture
def cursor(each_database_url: str) -> Iterator[Any]:
    """A cursor whose transaction is rolled back."""
    connection = psycopg2.connect(each_database_url, options="-c timezone=UTC")
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


@pytest.fixture
def scene(cursor: Any) -> Scene:
    return Scene(cursor)


@pytest.fixture
def bury(db: Callable[..., list[Any]]) -> Callable[..., str]:
    """Make a dead letter that died so long ago, and return its id."""

    def make(*, ago: timedelta = timedelta(minutes=1), **columns: Any) -> str:
        id_ = columns.pop("message_id", None) or str(uuid.uuid4())
        queue_name = columns.get("queue_name", "jobs")
        message = {
            "queue_name": queue_name,
            "actor_name": "job",
            "args": [],
            "kwargs": {"to": "ann@example.org", "order": 1},
            "options": {"retries": 5, "requeue_timestamp": 1, "traceback": "…", "retrying_since": 1, "kept": True},
            "message_id": id_,
            "message_timestamp": 1,
        } | columns.pop("message", {})
        row = {
            "message_id": id_,
            "reason": "max_retries",
            "queue_name": queue_name,
            "actor_name": message["actor_name"],
            "message": json.dumps(columns.pop("stored", message)),
            "priority": 0,
            "attempt": 6,
            "retries": 5,
            "lost_workers": 1,
            "generation": 0,
            "error_class": "ValueError",
            "error_message": "order 1 has no price",
            "traceback": "Traceback …",
            "fingerprint": "0123456789ab",
            "error_place": "their_jobs/orders.py in charge",
        } | columns
        names = ", ".join(row)
        db(
            f"INSERT INTO callboard.dead_letters ({names}, enqueued_at, first_failed_at, died_at) "
            f"VALUES ({', '.join(['%s'] * len(row))}, now() - %s::interval - interval '1 hour', now() - %s::interval, "
            "now() - %s::interval)",
            *row.values(),
            *[ago] * 3,
        )
        return str(id_)

    return make


@pytest.fixture
def enqueue(db: Callable[..., list[Any]]) -> Callable[..., str]:
    """Put a message into a queue and return its id."""

    def put(*, message_id: str | None = None, dedupe_key: str | None = None, queue_name: str = "jobs") -> str:
        id_ = message_id or str(uuid.uuid4())
        db(
            "INSERT INTO dramatiq.queue (message_id, queue_name, message, dedupe_key) VALUES (%s, %s, '{}', %s)",
            id_,
            queue_name,
            dedupe_key,
        )
        return id_

    return put


class Fate:
    """Plays the worker: ends what is queued as it is told."""

    def __init__(self, db: Callable[..., list[Any]]) -> None:
        self._db = db

    def queued(self) -> list[str]:
        return [id_ for (id_,) in self._db("SELECT message_id::text FROM dramatiq.queue ORDER BY seq")]

    def end(self, message_id: str) -> None:
        """Let a message end well."""
        self._claim(message_id)
        self._db(sql("ending/end_done"), **self._fence(message_id))

    def fail(self, message_id: str, *, fingerprint: str, outcome: str = "dead") -> None:
        """Let a message fail of a cause."""
        self._claim(message_id)
        more = {
            "outcomes": f"{{{outcome}}}",
            "waits_s": "{60}",
            "messages": "{NULL}",
            "reasons": "{max_retries}" if outcome == "dead" else "{NULL}",
            "retries": "{1}",
            "error_classes": "{ValueError}",
            "error_messages": "{again}",
            "tracebacks": "{Traceback}",
            "fingerprints": f"{{{fingerprint}}}",
            "places": "{job}",
        }
        statement = "ending/end_dead" if outcome == "dead" else "ending/end_requeue"
        self._db(sql(statement), **self._fence(message_id), **more)

    def _claim(self, message_id: str) -> None:
        self._db(
            "UPDATE dramatiq.queue SET state = 'running', attempt = attempt + 1, claimed_at = now(), "
            "lease_id = nextval('callboard.lease_id_seq'), worker_id = gen_random_uuid() WHERE message_id = %s",
            message_id,
        )

    def _fence(self, message_id: str) -> dict[str, str]:
        ((lease_id, worker_id),) = self._db(
            "SELECT lease_id, worker_id::text FROM dramatiq.queue WHERE message_id = %s", message_id
        )
        return {
            "message_ids": f"{{{message_id}}}",
            "lease_ids": f"{{{lease_id}}}",
            "started_at": '{"2026-11-24T12:00:00Z"}',
            "worker_id": worker_id,
        }


@pytest.fixture
def fate(db: Callable[..., list[Any]]) -> Fate:
    return Fate(db)


@contextlib.contextmanager
def held_open(url: str, statement: str, *parameters: Any) -> Iterator[Any]:
    """Run a statement in a transaction that stays open for the block."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            yield cursor
    finally:
        connection.close()
