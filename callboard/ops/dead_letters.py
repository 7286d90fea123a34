"""Dead letters: what there is, what happened to one, and bringing it back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2

from callboard.db import sql
from callboard.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as lists show it."""

    message_id: str
    queue_name: str
    actor_name: str
    reason: str
    error_class: str | None
    error_message: str | None
    attempt: int
    died_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a message, as it was kept."""

    generation: int
    attempt: int
    outcome: str
    started_at: datetime | None
    ended_at: datetime
    error_class: str | None
    error_message: str | None
    traceback: str | None
    reason: str | None


def list_dead(cursor: Any, *, queue_name: str | None = None, limit: int = 50) -> list[DeadLetter]:
    """Return the newest dead letters, of one queue or of all."""
    cursor.execute(sql("ops/list_dead"), {"queue_name": queue_name, "limit": limit})
    return [DeadLetter(*row) for row in cursor.fetchall()]


def show_dead(cursor: Any, message_id: str) -> tuple[DeadLetter, dict[str, Any], list[Attempt]]:
    """Return a dead letter, its message and all its attempts. Raises: NotFound."""
    cursor.execute(sql("ops/show_dead"), {"message_id": message_id})
    row = cursor.fetchone()
    if row is None:
        raise NotFound(f"No dead letter has the id {message_id}. List them with: callboard dead list")
    cursor.execute(sql("ops/list_attempts"), {"message_id": message_id})
    return DeadLetter(*row[:-1]), row[-1], [Attempt(*attempt) for attempt in cursor.fetchall()]


def retry_dead(cursor: Any, message_ids: list[str]) -> list[str]:
    """Put dead letters back into their queues and return the ids that were there.

    A message keeps its id, so that a mail keeps its Message-ID, and starts with a new generation and full retries.
    Raises: Conflict where another message holds the dedupe_key by now.
    """
    try:
        cursor.execute(sql("ops/retry_dead"), {"message_ids": message_ids})
    except psycopg2.errors.UniqueViolation as error:
        raise Conflict(
            f"Another message holds the same dedupe_key by now: {error.diag.message_detail} "
            "Discard one of the two first."
        ) from error
    return [row[0] for row in cursor.fetchall()]
