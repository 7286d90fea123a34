"""How fast messages come and go, over the last minutes: rates, mean run time, and the threads that this takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from callboard.db import sql

#: How far back the pace is taken at the most, s.
WINDOW_S = 300.0
#: Shorter windows, tried first: where a queue does thousands of messages a second, a few seconds tell its pace as well,
#: and 5 minutes would be millions of rows to read.
SHORT_WINDOWS_S = (10.0, 60.0)
#: So many ended messages in a short window are enough of a sample.
SAMPLE_ENOUGH = 20_000


@dataclass(frozen=True, slots=True)
class QueuePace:
    """The pace of one queue over the last window_s; what an operator discarded did not leave by being worked."""

    queue_name: str
    window_s: float
    came: int
    #: Done or dead.
    left: int
    #: Of the runs that ended well; None when none did.
    mean_run_s: float | None

    @property
    def in_per_min(self) -> float:
        return self.came / self.window_s * 60

    @property
    def out_per_min(self) -> float:
        return self.left / self.window_s * 60

    @property
    def workers_needed(self) -> float | None:
        """Threads that are busy with what comes: arrival rate by mean run time; None while no run is known."""
        if self.came == 0:
            return 0.0
        return None if self.mean_run_s is None else self.came / self.window_s * self.mean_run_s


def queue_pace(cursor: Any) -> dict[str, QueuePace]:
    """Return the pace of each queue, by name; one where nothing came or left is missing."""
    window_s = _window(cursor)
    cursor.execute(sql("queues/pace"), {"window_s": window_s})
    return {row[0]: QueuePace(row[0], window_s, *row[1:]) for row in cursor.fetchall()}


def _window(cursor: Any) -> float:
    for window_s in SHORT_WINDOWS_S:
        cursor.execute(sql("queues/ended_since"), {"window_s": window_s})
        if cursor.fetchone()[0] >= SAMPLE_ENOUGH:
            return window_s
    return WINDOW_S
