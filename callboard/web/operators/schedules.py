"""/api/v1/schedules: periodic messages."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from callboard.ops import schedules
from callboard.ops.schedules import Schedule
from callboard.web.operators.requests import Change, Changed, Name, OperatorName, Page, operator_of
from callboard.web.operators.transactions import changing, looking
from callboard.web.state import CurrentState

router = APIRouter(prefix="/schedules", tags=["operators"])


class Sent(BaseModel):
    """The message that a request sent."""

    message_id: str


@router.get("")
def get_schedules(state: CurrentState) -> Page[Schedule]:
    """List every schedule, with its last slot, what became of that, and the next one."""
    with looking(state) as database:
        return Page(items=schedules.list_schedules(database))


@router.post("/{name}/run")
def run_schedule(name: Name, change: Change, state: CurrentState, operator: OperatorName) -> Sent:
    """Send a message of the schedule now; its slots and a pause stay as they are."""
    with changing(state) as database:
        return Sent(message_id=schedules.run_schedule(database, name, operator_of(operator, change)))


@router.post("/{name}/pause")
def pause_schedule(name: Name, change: Change, state: CurrentState, operator: OperatorName) -> Changed:
    """Send nothing until it is resumed."""
    with changing(state) as database:
        return Changed(changed=schedules.pause_schedules(database, [name], operator_of(operator, change)))


@router.post("/{name}/resume")
def resume_schedule(name: Name, change: Change, state: CurrentState, operator: OperatorName) -> Changed:
    """Go on; slots that were missed follow the schedule's catch_up."""
    with changing(state) as database:
        return Changed(changed=schedules.resume_schedules(database, [name], operator_of(operator, change)))
