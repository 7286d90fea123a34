"""How the queues stand right now: the figures behind health, metrics and the operator's status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from callboard.db import sql
from callboard.ops.wording import moment
from callboard.terms import BEAT_OVERDUE_S

#: The old workers called a job stuck when it had run for an hour.
STUCK_AFTER_S = 3600
#: And warned when more of them than this were.
STUCK_MAX = 10


@dataclass(frozen=True, slots=True)
class Pause:
    """A queue's pause; until is None for one that lasts until somebody resumes it."""

    since: datetime
    until: datetime | None
    reason: str | None
    #: None for a pause that was written by hand.
    by: str | None

    @property
    def text(self) -> str:
        """The pause in words: since when, until when, by whom and why."""
        until = "until somebody resumes it" if self.until is None else f"until {moment(self.until)}"
        by = f" by {self.by}" if self.by else ""
        return f"paused {until}, since {moment(self.since)}{by}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class QueueFigures:
    """The messages of one queue; oldest_ready_s is None when none is ready, pause when it is not paused."""

    queue_name: str
    ready: int
    delayed: int
    running: int
    stuck: int
    oldest_ready_s: float | None
    dead: int
    pause: Pause | None = None

    @property
    def pending(self) -> int:
        """Messages that still have to start, now or later."""
        return self.ready + self.delayed


class Serving(NamedTuple):
    """Who serves a queue: worker processes that beat lately, and their threads."""

    workers: int
    threads: int


def queue_figures(cursor: Any) -> list[QueueFigures]:
    """Return the figures of every known queue, by name."""
    cursor.execute(sql("queues/figures"), {"stuck_after_s": STUCK_AFTER_S, "beat_overdue_s": BEAT_OVERDUE_S})
    return [QueueFigures(*(*row[:7], pause_of(row[7:]))) for row in cursor.fetchall()]


def pause_of(columns: tuple[Any, ...]) -> Pause | None:
    """Return the pause that a row tells: since, until, reason, by; None where since is NULL."""
    return None if columns[0] is None else Pause(*columns)


def serving(cursor: Any) -> dict[str, Serving]:
    """Return who serves each queue; a queue that nobody serves is missing."""
    cursor.execute(sql("workers/count"), {"beat_overdue_s": BEAT_OVERDUE_S})
    return {queue_name: Serving(workers, threads) for queue_name, workers, threads in cursor.fetchall()}


def workers_alive(cursor: Any) -> dict[str, int]:
    """Return how many worker processes serve each queue; a queue that nobody serves is missing."""
    return {queue_name: served.workers for queue_name, served in serving(cursor).items()}
