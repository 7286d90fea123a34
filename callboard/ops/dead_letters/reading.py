"""Dead letters: what there is, in single letters and by cause, and the whole story of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from callboard.db import sql
from callboard.errors import NotFound
from callboard.log import mask_addresses
from callboard.ops.dead_letters.filter import DeadFilter, check_names, check_where, execute_matching

#: Parts of the time that a group's counts are given for.
PARTS = 24
#: Longest text of an error in lists, characters.
TEXT_MAX = 300


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as lists show it: without its arguments, and without mail addresses in the error's text."""

    message_id: str
    queue_name: str
    actor_name: str | None
    reason: str
    fingerprint: str | None
    error_class: str | None
    error_message: str | None
    error_place: str | None
    attempt: int
    generation: int
    enqueued_at: datetime
    first_failed_at: datetime | None
    died_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a message, as it was kept; hostname and pid where its worker is known still."""

    generation: int
    attempt: int
    outcome: str
    started_at: datetime | None
    ended_at: datetime
    error_class: str | None
    error_message: str | None
    traceback: str | None
    reason: str | None
    fingerprint: str | None
    worker_id: str | None
    hostname: str | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class DeadStory:
    """All that is kept about a dead letter, arguments included."""

    letter: DeadLetter
    message: Any
    dedupe_key: str | None
    priority: int
    retries: int
    lost_workers: int
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """The dead letters of one cause; message_id and error_message are the newest one's."""

    fingerprint: str
    error_class: str | None
    error_place: str | None
    error_message: str | None
    message_id: str
    reasons: tuple[str, ...]
    queues: tuple[str, ...]
    actors: tuple[str, ...]
    count: int
    first_at: datetime
    last_at: datetime
    #: How many died in each of PARTS equal parts of the time from counted_since until counted_until.
    counts: tuple[int, ...]
    counted_since: datetime
    counted_until: datetime


def count_dead(cursor: Any, which: DeadFilter) -> int:
    """Count the dead letters that are meant. Raises: InvalidRequest, NotFound for a name that does not exist."""
    check_where(cursor, which)
    execute_matching(cursor, "count", which)
    count: int = cursor.fetchone()[0]
    if not count:
        check_names(cursor, which)
    return count


def list_dead(
    cursor: Any, which: DeadFilter, *, limit: int, before: tuple[datetime, str] | None = None
) -> list[DeadLetter]:
    """Return dead letters, newest first; before is died_at and message_id of the last one of the page before.

    Raises: InvalidRequest, NotFound for a name that does not exist.
    """
    check_where(cursor, which)
    before_at, before_id = before or (None, None)
    execute_matching(cursor, "list", which, limit=limit, before_at=before_at, before_id=before_id)
    rows = cursor.fetchall()
    if not rows:
        check_names(cursor, which)
    return [replace(letter, error_message=_public(letter.error_message)) for letter in map(_letter, rows)]


def group_dead(cursor: Any, which: DeadFilter, *, limit: int) -> list[DeadGroup]:
    """Return the causes of dead letters, the most frequent first.

    Raises: InvalidRequest, NotFound for a name that does not exist.
    """
    check_where(cursor, which)
    execute_matching(cursor, "groups", which, limit=limit, parts=PARTS)
    rows = cursor.fetchall()
    if not rows:
        check_names(cursor, which)
    return [_group(row) for row in rows]


def show_dead(cursor: Any, message_id: str) -> DeadStory:
    """Return all that is kept about a dead letter. Raises: NotFound."""
    cursor.execute(sql("dead_letters/show"), {"message_id": message_id})
    row = cursor.fetchone()
    if row is None:
        raise NotFound(f"No dead letter has the id {message_id}. List them with: callboard dead list")
    cursor.execute(sql("dead_letters/attempts"), {"message_id": message_id})
    attempts = tuple(Attempt(*attempt) for attempt in cursor.fetchall())
    message, dedupe_key, priority, retries, lost_workers = row[13:]
    return DeadStory(_letter(row[:13]), message, dedupe_key, priority, retries, lost_workers, attempts)


def _letter(row: Sequence[Any]) -> DeadLetter:
    return DeadLetter(*row)


def _group(row: Sequence[Any]) -> DeadGroup:
    group = DeadGroup(*row)
    return replace(
        group,
        error_message=_public(group.error_message),
        reasons=tuple(group.reasons),
        queues=tuple(group.queues),
        actors=tuple(filter(None, group.actors)),
        counts=tuple(group.counts),
    )


def _public(text: str | None) -> str | None:
    return None if text is None else mask_addresses(text)[:TEXT_MAX]
