"""How the whole service is, in one word, with the reasons and what to do about each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from callboard.db import schema, sql
from callboard.ops.queues.figures import STUCK_MAX
from callboard.ops.queues.listing import QueueView, list_queues
from callboard.ops.wording import command, in_a_row, span, work_command
from callboard.ops.workers import WorkerView, list_workers

#: A queue that nobody serves is unhealthy when a message has been ready for this long; workers may be starting, s.
UNSERVED_AFTER_S = 60
#: A served queue falls behind when its oldest ready message has waited this long, s.
BEHIND_AFTER_S = 900
#: Dead letters in an hour that are worth a look; single refused addresses are daily work.
DEAD_MAX = 10
#: A transaction that is open for longer keeps vacuum from cleaning up behind the queue, s.
OPEN_TRANSACTION_MAX_S = 600
#: Workers that a sentence names.
NAMES_MAX = 3


class Level(StrEnum):
    """The words of /health/queue."""

    HEALTHY = "healthy"
    WARNING = "warning"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that is not as it should be, and the command to give next."""

    level: Level
    sentence: str
    command: str


@dataclass(frozen=True, slots=True)
class DatabaseFigures:
    """How the database is; oldest_transaction_s is None when no other session has one open."""

    version: str
    size_bytes: int
    connections: int
    connections_max: int
    oldest_transaction_s: float | None
    #: Dead letters of the last hour, of all queues.
    dead_last_hour: int


@dataclass(frozen=True, slots=True)
class Status:
    """The whole service on one screen."""

    level: Level
    reasons: list[Reason]
    schema_revision: str
    answered_in_s: float
    database: DatabaseFigures
    workers: list[WorkerView]
    queues: list[QueueView]


def read_status(cursor: Any) -> Status:
    """Return how everything is, and what is not as it should be. Raises: SchemaOutdated."""
    began_clock = time.monotonic()
    revision = schema.current_revision(cursor.connection) or "none"
    answered_in_s = time.monotonic() - began_clock
    schema.check_revision(cursor.connection)
    database, queues, workers = database_figures(cursor), list_queues(cursor), list_workers(cursor)
    reasons = assess(database, queues, workers)
    return Status(level_of(reasons), reasons, revision, answered_in_s, database, workers, queues)


def database_figures(cursor: Any) -> DatabaseFigures:
    cursor.execute(sql("health/database_figures"))
    return DatabaseFigures(*cursor.fetchone())


def assess(database: DatabaseFigures, queues: Sequence[QueueView], workers: Sequence[WorkerView]) -> list[Reason]:
    """Return the reasons why not all is well, the worst first; none means healthy."""
    found = [*_about_queues(queues), *_about_workers(workers), *_about_database(database)]
    return sorted(found, key=lambda reason: reason.level is not Level.UNHEALTHY)


def level_of(reasons: Sequence[Reason]) -> Level:
    """Return the worst level of the reasons."""
    levels = {reason.level for reason in reasons}
    return next((level for level in (Level.UNHEALTHY, Level.WARNING) if level in levels), Level.HEALTHY)


def _about_queues(queues: Sequence[QueueView]) -> Iterator[Reason]:
    unserved = [queue for queue in queues if queue.pause is None and queue.ready and not queue.workers]
    if unserved:
        is_late = any((queue.oldest_ready_s or 0) >= UNSERVED_AFTER_S for queue in unserved)
        names, ready = in_a_row(queue.queue_name for queue in unserved), sum(queue.ready for queue in unserved)
        text = f"No worker serves {names}; ready there: {ready:,} messages."
        start = work_command(queue.queue_name for queue in unserved)
        yield Reason(Level.UNHEALTHY if is_late else Level.WARNING, text, start)
    for queue in queues:
        waited_s = queue.oldest_ready_s or 0
        if queue.pause is not None and (queue.ready or queue.delayed):
            text = f"Queue {queue.queue_name} is {queue.pause.text}. Waiting in it: {queue.ready + queue.delayed:,}."
            yield Reason(Level.WARNING, text, command("queues", "resume", queue.queue_name))
        elif queue.pause is None and queue.workers and waited_s >= BEHIND_AFTER_S:
            text = f"Queue {queue.queue_name} falls behind: its oldest ready message has waited for {span(waited_s)}."
            yield Reason(Level.WARNING, text, "callboard queues list")
    stuck = sum(queue.stuck for queue in queues)
    if stuck > STUCK_MAX:
        text = f"{stuck:,} messages are stuck: they run for over an hour, or on a worker that is gone."
        yield Reason(Level.WARNING, text, "callboard workers")


def _about_workers(workers: Sequence[WorkerView]) -> Iterator[Reason]:
    suspects = [worker for worker in workers if worker.is_suspect]
    if suspects:
        names = in_a_row(f"{worker.hostname}:{worker.pid}" for worker in suspects[:NAMES_MAX])
        more = f" and {len(suspects) - NAMES_MAX} more" if len(suspects) > NAMES_MAX else ""
        text = f"Workers that seem to be dead, frozen or cut off: {names}{more}."
        yield Reason(Level.WARNING, text, "callboard workers")


def _about_database(database: DatabaseFigures) -> Iterator[Reason]:
    if database.dead_last_hour >= DEAD_MAX:
        text = f"{database.dead_last_hour:,} messages became dead letters in the last hour."
        yield Reason(Level.WARNING, text, "callboard dead groups")
    if (open_s := database.oldest_transaction_s or 0) > OPEN_TRANSACTION_MAX_S:
        text = f"A transaction has been open for {span(open_s)} and keeps vacuum from cleaning up."
        yield Reason(Level.WARNING, text, "SELECT pid, query FROM pg_stat_activity ORDER BY xact_start")
