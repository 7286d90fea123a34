"""/api/v1/workers and /api/v1/status: the worker processes, and the whole service in one answer."""

from __future__ import annotations

from fastapi import APIRouter

from callboard.ops.health.status import Status, read_status
from callboard.ops.workers import WorkerView, list_workers
from callboard.web.operators.requests import Page
from callboard.web.operators.transactions import looking
from callboard.web.state import CurrentState

router = APIRouter(tags=["operators"])


@router.get("/workers")
def get_workers(state: CurrentState) -> Page[WorkerView]:
    """List the worker processes: where they are, what they run and for how long, and which seem to be dead."""
    with looking(state) as database:
        return Page(items=list_workers(database))


@router.get("/status")
def get_status(state: CurrentState) -> Status:
    """Say how everything is in one word, with the reasons and the command that helps; the code is 200 in any case."""
    with looking(state) as database:
        return read_status(database)
