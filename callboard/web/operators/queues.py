"""/api/v1/queues: how they stand, pausing them, discarding what waits in one."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from callboard.errors import NotFound
from callboard.ops.moments import parse_future
from callboard.ops.queues import controls as queue_controls
from callboard.ops.queues import listing as queues
from callboard.ops.queues.listing import QueueView
from callboard.web.operators.requests import Change, Changed, DestructiveChange, Name, OperatorName, Page, operator_of
from callboard.web.operators.transactions import changing, looking
from callboard.web.requests.texts import Text
from callboard.web.state import CurrentState

router = APIRouter(prefix="/queues", tags=["operators"])


class PauseQueue(Change):
    """A pause."""

    until: Text | None = Field(None, max_length=60, description="A span such as 2h, or a moment; else until resumed.")
    force: bool = Field(False, description="Also a queue that nothing knows of yet.")


class Paused(Changed):
    """The queue that is paused, and the end of the pause."""

    until: datetime | None


class Discarded(BaseModel):
    """How many messages were discarded, or would be."""

    count: int
    dry_run: bool


@router.get("")
def get_queues(state: CurrentState) -> Page[QueueView]:
    """List every queue: what waits and runs, how fast it goes, the threads it needs and has, its pause."""
    with looking(state) as database:
        return Page(items=queues.list_queues(database))


@router.post("/{name}/pause")
def pause_queue(name: Name, change: PauseQueue, state: CurrentState, operator: OperatorName) -> Paused:
    """Pause a queue for all workers: within 2 s they start nothing of it. A paused one gets the new end and reason."""
    until = None if change.until is None else parse_future(change.until, name="until")
    with changing(state) as database:
        paused = queue_controls.pause_queues(
            database, [name], operator_of(operator, change), until=until, is_new_allowed=change.force
        )
    return Paused(changed=paused, until=until)


@router.post("/{name}/resume")
def resume_queue(name: Name, change: Change, state: CurrentState, operator: OperatorName) -> Changed:
    """Resume a queue; its messages start at once."""
    with changing(state) as database:
        queues.require_known(database, [name])
        try:
            return Changed(changed=queue_controls.resume_queues(database, [name], operator_of(operator, change)))
        except NotFound:
            # Known and not paused: what was asked for is so already.
            return Changed(changed=[])


@router.post("/{name}/discard")
def discard_queue(name: Name, change: DestructiveChange, state: CurrentState, operator: OperatorName) -> Discarded:
    """Throw away what waits in a queue, ready or delayed; the history keeps it as discarded. What runs is finished."""
    who = operator_of(operator, change)
    with looking(state) as database:
        plan = queue_controls.plan_discard(database, name)
    if change.dry_run:
        return Discarded(count=plan.count, dry_run=True)
    while plan.count and not plan.is_complete:
        with changing(state) as database:
            plan = queue_controls.discard_batch(database, plan, who)
    return Discarded(count=plan.discarded, dry_run=False)
