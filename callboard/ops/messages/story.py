"""The whole story of one message: where it is, every run of every generation, and what operators did to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from callboard.db import sql
from callboard.errors import NotFound


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message where it is now. started_at is when its last run began, reason why it waits or died."""

    message_id: str
    state: str
    queue_name: str
    actor_name: str | None
    #: An object, unless a stranger wrote it into the table.
    message: Any
    priority: int
    attempt: int
    retries: int
    lost_workers: int
    generation: int
    dedupe_key: str | None
    enqueued_at: datetime
    available_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    worker_id: str | None
    reason: str | None
    error_class: str | None
    error_message: str | None
    seq: int | None


@dataclass(frozen=True, slots=True)
class MessageRun:
    """One run; ended_at is None for one that runs now, hostname and pid where the worker is not on record."""

    generation: int
    attempt: int
    outcome: str
    started_at: datetime | None
    ended_at: datetime | None
    #: None while it runs, and where no beginning is on record.
    run_s: float | None
    hostname: str | None
    pid: int | None
    worker_id: str | None
    error_class: str | None
    error_message: str | None
    traceback: str | None
    reason: str | None

    @property
    def worker(self) -> str | None:
        """host:pid, or what is left of it."""
        if self.hostname is not None:
            return f"{self.hostname}:{self.pid}"
        return None if self.worker_id is None else f"worker {self.worker_id[:8]}"


@dataclass(frozen=True, slots=True)
class MessageChange:
    """What an operator did to the message."""

    changed_at: datetime
    operator: str
    via: str
    action: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker that holds a running message; hostname is None when its row is gone."""

    hostname: str | None
    pid: int | None
    silent_s: float | None
    is_suspect: bool | None
    #: Who asked the message to stop, and when; None when nobody did.
    stop_requested_by: str | None
    stop_requested_at: datetime | None


@dataclass(frozen=True, slots=True)
class MessageStory:
    """Everything that is on record about one message."""

    record: MessageRecord
    runs: list[MessageRun]
    changes: list[MessageChange]
    #: Of a running message.
    holder: Holder | None


def find_message(cursor: Any, message_id: str) -> MessageRecord | None:
    """Return a message wherever it is, or None."""
    cursor.execute(sql("messages/find"), {"message_id": message_id})
    row = cursor.fetchone()
    return None if row is None else MessageRecord(message_id, *row)


def tell_story(cursor: Any, message_id: str) -> MessageStory:
    """Return all there is about a message. Raises: NotFound."""
    record = find_message(cursor, message_id)
    if record is None:
        raise NotFound(
            f"No message has the id {message_id}: it was never stored, or its history is gone. "
            "Find messages with: callboard messages list"
        )
    return MessageStory(
        record=record,
        runs=runs_of(cursor, message_id),
        changes=changes_of(cursor, record),
        holder=holder_of(cursor, record) if record.state == "running" else None,
    )


def runs_of(cursor: Any, message_id: str) -> list[MessageRun]:
    cursor.execute(sql("messages/runs"), {"message_id": message_id})
    return [MessageRun(*row) for row in cursor.fetchall()]


def changes_of(cursor: Any, record: MessageRecord) -> list[MessageChange]:
    """Return what operators did to the message by its id; what they did by a filter does not name it."""
    cursor.execute(sql("messages/changes"), {"message_id": record.message_id, "since": record.enqueued_at})
    return [MessageChange(*row) for row in cursor.fetchall()]


def holder_of(cursor: Any, record: MessageRecord) -> Holder:
    cursor.execute(sql("messages/worker"), {"message_id": record.message_id, "worker_id": record.worker_id})
    return Holder(*cursor.fetchone())


def find_by_key(cursor: Any, queue_name: str, dedupe_key: str) -> str:
    """Return the id of the message that holds a dedupe_key. Raises: NotFound."""
    cursor.execute(sql("messages/of_key"), {"queue_name": queue_name, "dedupe_key": dedupe_key})
    row = cursor.fetchone()
    if row is None:
        raise NotFound(
            f"No waiting or running message of queue {queue_name!r} holds the dedupe_key {dedupe_key!r}: "
            "the next send with it is stored."
        )
    return str(row[0])
