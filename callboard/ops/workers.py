"""The worker processes: where they are, what they run and for how long, whether they seem to live."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from callboard.db import sql
from callboard.terms import BEAT_OVERDUE_S

#: Running messages that are listed of one process; it may hold thousands of short ones.
JOBS_MAX = 20


@dataclass(frozen=True, slots=True)
class Job:
    """A message that a worker process holds, and for how long."""

    message_id: str
    queue_name: str
    actor_name: str | None
    run_s: float


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker process. is_suspect: its lock is free or its heartbeat overdue; it may be dead, frozen or cut off."""

    worker_id: str
    hostname: str
    pid: int
    queues: list[str]
    threads: int
    version: str
    started_at: datetime
    beat_at: datetime
    silent_s: float
    is_suspect: bool
    #: None where the process has not told.
    rss_bytes: int | None
    #: Messages it holds; jobs has the longest of them.
    running: int
    jobs: list[Job]


def list_workers(cursor: Any) -> list[WorkerView]:
    """Return the registered worker processes, by host and pid."""
    cursor.execute(sql("workers/list"), {"beat_overdue_s": BEAT_OVERDUE_S, "jobs_max": JOBS_MAX})
    return [WorkerView(*(*row[:-1], [Job(*job) for job in row[-1]])) for row in cursor.fetchall()]
