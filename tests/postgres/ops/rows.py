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

    def email(self, days: float, message_id: str | None = None, **columns: Any) -> str:
        message_id = message_id or str(uuid.uuid4())
        text = {
            "template": "welcome",
            "recipient": "ann@mail.example",
            "subject": "Welcome",
            "message_id_header": "<1@a>",
        }
        values = {**text, "state": "sending", "created_at": days_ago(days), "tried_since": days_ago(days), **columns}
        self.insert("callboard.emails", message_id=message_id, **values)
        return message_id

    def report(self, days: float, report_id: str | None = None, **columns: Any) -> str:
        report_id, at = report_id or str(uuid.uuid4()), days_ago(days)
        values = {
            "state": "ready",
            "kind": "receipt",
            "formats": ["pdf"],
            "created_at": at,
            "finished_at": at,
            **columns,
        }
        self.insert("callboard.reports", report_id=report_id, **values)
        return report_id

    def payment(self, days: float, **columns: Any) -> str:
        payment_id = str(uuid.uuid4())
        values = {"order_id": "A-1", "amount": 1, "currency": "RUB", "return_url": "https://shop.example", **columns}
        self.insert(
            "callboard.payments",
            payment_id=payment_id,
            idempotence_key=payment_id,
            created_at=days_ago(days),
            **values,
        )
        return payment_id

    def idempotency_key(self, key: str, days: float, payment_id: str, **columns: Any) -> None:
        values = {"request_sha256": "0", "payment_id": payment_id, "created_at": days_ago(days), **columns}
        self.insert("callboard.idempotency_keys", key=key, **values)

    def queued(self, **columns: Any) -> str:
        message_id = str(uuid.uuid4())
        values = {"queue_name": "jobs", "message": '{"actor_name": "job"}', **columns}
        self.insert("dramatiq.queue", message_id=message_id, **values)
        return message_id

    def ids(self, table: str) -> set[str]:
        return {row[0] for row in self._db(f"SELECT message_id::text FROM callboard.{table}")}
