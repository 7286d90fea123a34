"""Rows of a given age, written as they stand."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

ENDED = {"queue_name": "jobs", "message": "{}", "priority": 0, "attempt": 1, "retries": 0, "lost_workers": 0}


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


class Rows:
    """Writes rows and returns the id of their message; days are their age."""

    def __init__(self, db: Callable[..., list[Any]]) -> None:
        self._db = db

    def insert(self, table: str, **columns: Any) -> None:
        names = ", ".join(columns)
        values = ", ".join(f"%({name})s" for name in columns)
        self._db(f"INSERT INTO {table} ({names}) VALUES ({values})", **columns)

    def history(self, days: float, message_id: str | None = None, **columns: Any) -> str:
        at, message_id = days_ago(days), message_id or str(uuid.uuid4())
        moments = {"enqueued_at": at, "available_at": at, "started_at": at, "ended_at": at}
        values = {**ENDED, "outcome": "done", "generation": 0, **moments, **columns}
        self.insert("callboard.message_history", message_id=message_id, **values)
        return message_id

    def dead(self, days: float, message_id: str | None = None, **columns: Any) -> str:
        at, message_id = days_ago(days), message_id or str(uuid.uuid4())
        values = {**ENDED, "reason": "permanent", "generation": 0, "enqueued_at": at, "died_at": at, **columns}
        self.insert("callboard.dead_letters", message_id=message_id, **values)
        return message_id

    def attempt(self, days: float, message_id: str | None = None, **columns: Any) -> str:
        message_id = message_id or str(uuid.uuid4())
        values = {"generation": 0, "attempt": 1, "outcome": "retry", "ended_at": days_ago(days), **columns}
        self.insert("callboard.attempts", message_id=message_id, **values)
        return message_id

    def queued(self, **columns: Any) -> str:
        message_id = str(uuid.uuid4())
        values = {"queue_name": "jobs", "message": '{"actor_name": "job"}', **columns}
        self.insert("dramatiq.queue", message_id=message_id, **values)
        return message_id

    def ids(self, table: str) -> set[str]:
        return {row[0] for row in self._db(f"SELECT message_id::text FROM callboard.{table}")}
