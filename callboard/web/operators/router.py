"""The addresses below /api/v1, closed to whoever does not bear API_TOKEN."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from callboard.web.access import require_token
from callboard.web.lanes import Lane
from callboard.web.operators import audit, dead, dead_changes, messages, queues, schedules, workers
from callboard.web.state import through

router = APIRouter(prefix="/api/v1", dependencies=[Depends(require_token), through(Lane.OPERATORS)])
for module in (queues, messages, dead, dead_changes, workers, schedules, audit):
    router.include_router(module.router)
