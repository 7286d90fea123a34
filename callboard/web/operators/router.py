"""The addresses below /api/v1, closed to whoever does not bear API_TOKEN."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from callboard.web.limits.lanes import Lane
from callboard.web.operators import audit, messages, queues, schedules, workers
from callboard.web.operators.dead_letters import changes as dead_changes
from callboard.web.operators.dead_letters import reading as dead
from callboard.web.requests.access import require_token
from callboard.web.state import through

router = APIRouter(prefix="/api/v1", dependencies=[Depends(require_token), through(Lane.OPERATORS)])
for module in (queues, messages, dead, dead_changes, workers, schedules, audit):
    router.include_router(module.router)
