"""How the queues stand right now: the figures behind health, metrics and the operator's status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from callboard.db import sql

#: The old workers called a job stuck when it had run for an hour.
STUCK_AFTER_S = 3600
#: A worker beats every second or two; one that was silent for this long is counted as gone, s.
BEAT_OVERDUE_S = 20


@dataclass(frozen=True)
class QueueFigures:
    """The messages of one queue; oldest_ready_s is None when none is ready."""

    queue_name: str
    ready: int
    delayed: int
    running: int
    stuck: int
    oldest_ready_s: float | None
    dead: int

    @property
    def pending(self) -> int:
        """Messages that still have to start, now or later."""
        return self.ready + self.delayed


def queue_figures(cursor: Any) -> list[QueueFigures]:
    """Return the figures of every known queue, by name."""
    cursor.execute(sql("ops/queue_figures"), {"stuck_after_s": STUCK_AFTER_S, "beat_overdue_s": BEAT_OVERDUE_S})
    return [QueueFigures(*row) for row in cursor.fetchall()]


def workers_alive(cursor: Any) -> dict[str, int]:
    """Return how many worker processes serve each queue; a queue that nobody serves is missing."""
    cursor.execute(sql("ops/count_workers"), {"beat_overdue_s": BEAT_OVERDUE_S})
    return dict(cursor.fetchall())
