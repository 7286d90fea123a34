"""Is the API up, can it work, and how do the queues stand."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg2
from fastapi import APIRouter

from callboard.db import schema
from callboard.errors import DatabaseMisconfigured, DatabaseUnavailable, SchemaOutdated
from callboard.log import get_logger
from callboard.ops.queues.figures import STUCK_MAX, QueueFigures, queue_figures
from callboard.web.limits.lanes import Lane
from callboard.web.limits.shared_look import SharedLook
from callboard.web.requests.answers import JsonAnswer
from callboard.web.state import CurrentState, State

log = get_logger(__name__)
router = APIRouter(prefix="/health", tags=["health"])
T = TypeVar("T")

#: How long the database may take to answer a probe, s.
DATABASE_TIMEOUT_S = 2.0
#: Everybody may ask, so the database is asked this often at most, s.
FRESH_S = 0.5
#: The old workers named where their queue was.
DRIVER = "database"


@router.get("")
async def show_health(state: CurrentState) -> dict[str, Any]:
    """Say that the API runs; asks nothing else."""
    return {
        "status": "ok",
        "service": "api",
        "timestamp": datetime.now(UTC).isoformat(),
        "uptime": round(time.monotonic() - state.started_at, 3),
    }


@router.get("/live")
async def show_liveness() -> dict[str, str]:
    """Say that the process answers; never touches the database, whose outage is no reason for a restart."""
    return {"status": "ok"}


@router.get("/ready")
async def show_readiness(state: CurrentState) -> JsonAnswer:
    """Say whether requests can be served: the database answers and has our schema."""
    try:
        # A thread that hangs in connect() beyond the deadline ends by itself; the probe does not wait for it.
        await _look(state, _check_database).result(DATABASE_TIMEOUT_S)
    except SchemaOutdated as error:
        return _unhealthy(str(error))
    except (DatabaseMisconfigured, DatabaseUnavailable, psycopg2.Error, TimeoutError) as error:
        return _unhealthy(_reason(error))
    return JsonAnswer({"status": "ok"})


@router.get("/queue")
async def show_queue_health(state: CurrentState) -> JsonAnswer:
    """Show what waits, failed and is stuck, in all and per queue."""
    try:
        figures = await _look(state, _figures).result(DATABASE_TIMEOUT_S)
    except (DatabaseMisconfigured, DatabaseUnavailable, psycopg2.Error, TimeoutError) as error:
        return _unhealthy(_reason(error), driver=DRIVER)
    stuck = sum(queue.stuck for queue in figures)
    return JsonAnswer(
        {
            "status": "warning" if stuck > STUCK_MAX else "healthy",
            "driver": DRIVER,
            "pending": sum(queue.pending for queue in figures),
            "failed": sum(queue.dead for queue in figures),
            "stuck": stuck,
            "queues": {queue.queue_name: _queue_view(queue) for queue in figures},
        }
    )


def _queue_view(queue: QueueFigures) -> dict[str, Any]:
    return {
        "pending": queue.pending,
        "ready": queue.ready,
        "delayed": queue.delayed,
        "running": queue.running,
        "failed": queue.dead,
        "stuck": queue.stuck,
        "oldest_ready_s": queue.oldest_ready_s,
        # Not why and by whom: everybody may ask.
        "paused": queue.pause is not None,
        "paused_until": None if queue.pause is None or queue.pause.until is None else queue.pause.until.isoformat(),
    }


def _look(state: State, look: Callable[[State], T]) -> SharedLook[T]:
    return state.look(look.__name__, lambda: look(state), Lane.PROBES, fresh_s=FRESH_S)


def _check_database(state: State) -> None:
    with state.database(Lane.PROBES).connection(DATABASE_TIMEOUT_S) as connection:
        schema.check_revision(connection)


def _figures(state: State) -> list[QueueFigures]:
    with state.database(Lane.PROBES).cursor(DATABASE_TIMEOUT_S) as cursor:
        return queue_figures(cursor)


def _reason(error: Exception) -> str:
    """Return what an outsider may know; the log has the rest, which may name hosts and users."""
    log.warning("health check failed", error=str(error).strip()[:200] or type(error).__name__)
    if isinstance(error, DatabaseMisconfigured):
        return "The database refuses the connection until its configuration is corrected. See the log of the API."
    if isinstance(error, psycopg2.Error) and not isinstance(error, psycopg2.OperationalError):
        return "The database answered with an error. See the log of the API."
    return f"The database gave no answer within {DATABASE_TIMEOUT_S:g} s, or refused the connection."


def _unhealthy(reason: str, **more: str) -> JsonAnswer:
    return JsonAnswer({"status": "unhealthy", **more, "error": reason}, 503)
