"""The queues as an operator sees them: what waits and runs, how fast it goes, who serves them, which are paused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from callboard.db import sql
from callboard.errors import NotFound
from callboard.ops.queues.figures import Pause, QueueFigures, Serving, queue_figures, serving
from callboard.ops.queues.pace import WINDOW_S, QueuePace, queue_pace
from callboard.ops.wording import in_a_row


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue. Rates are per minute over the last window_s; what is not known is None."""

    queue_name: str
    ready: int
    delayed: int
    running: int
    stuck: int
    oldest_ready_s: float | None
    dead: int
    in_per_min: float
    out_per_min: float
    window_s: float
    mean_run_s: float | None
    #: Time until nothing is ready, at this pace; None when it does not shrink.
    empty_in_s: float | None
    #: Threads that are busy on average with what comes.
    workers_needed: float | None
    #: Worker processes that serve it, and their threads.
    workers: int
    threads: int
    pause: Pause | None


def list_queues(cursor: Any) -> list[QueueView]:
    """Return every known queue, by name."""
    paces, served = queue_pace(cursor), serving(cursor)
    return [
        _view(
            figures,
            paces.get(figures.queue_name) or QueuePace(figures.queue_name, WINDOW_S, 0, 0, None),
            served.get(figures.queue_name) or Serving(0, 0),
        )
        for figures in queue_figures(cursor)
    ]


def _view(figures: QueueFigures, pace: QueuePace, served: Serving) -> QueueView:
    return QueueView(
        queue_name=figures.queue_name,
        ready=figures.ready,
        delayed=figures.delayed,
        running=figures.running,
        stuck=figures.stuck,
        oldest_ready_s=figures.oldest_ready_s,
        dead=figures.dead,
        in_per_min=round(pace.in_per_min, 1),
        out_per_min=round(pace.out_per_min, 1),
        window_s=pace.window_s,
        mean_run_s=pace.mean_run_s,
        empty_in_s=None if figures.pause else _time_to_empty(figures.ready, pace),
        workers_needed=None if pace.workers_needed is None else round(pace.workers_needed, 2),
        workers=served.workers,
        threads=served.threads,
        pause=figures.pause,
    )


def _time_to_empty(ready: int, pace: QueuePace) -> float | None:
    if ready == 0:
        return 0.0
    shrinks_per_s = (pace.left - pace.came) / pace.window_s
    return ready / shrinks_per_s if shrinks_per_s > 0 else None


def known_queues(cursor: Any) -> list[str]:
    """Return the names of all queues that anything knows of."""
    cursor.execute(sql("queues/names"))
    return [row[0] for row in cursor.fetchall()]


def require_known(cursor: Any, queue_names: list[str]) -> None:
    """Raise NotFound, with the known names, where one of these is no queue."""
    known = known_queues(cursor)
    unknown = sorted(set(queue_names) - set(known))
    if unknown:
        names = in_a_row(known) if known else "there are none yet"
        raise NotFound(f"No queue is called {' or '.join(map(repr, unknown))}. Known queues: {names}.")


def queue_size(cursor: Any, queue_name: str | None = None) -> int:
    """Return how many messages wait or run, in one queue or in all. Raises: NotFound for an unknown queue."""
    cursor.execute(sql("queues/size"), {"queue_name": queue_name})
    size: int = cursor.fetchone()[0]
    if size == 0 and queue_name is not None:
        require_known(cursor, [queue_name])
    return size
