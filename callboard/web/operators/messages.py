"""/api/v1/messages: finding them, the story of one, why one does not run, cancelling."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from callboard.errors import NotFound
from callboard.ops.messages import cancellation as cancellations
from callboard.ops.messages import explanation as explanations
from callboard.ops.messages import listing as messages
from callboard.ops.messages import story as message_stories
from callboard.ops.messages.cancellation import Cancelled
from callboard.ops.messages.explanation import Explanation
from callboard.ops.messages.listing import MessageFilter, MessageLine, State
from callboard.ops.messages.story import MessageStory
from callboard.ops.moments import parse_past
from callboard.web.operators.requests import (
    IDS_MAX,
    PAGE_DEFAULT,
    Change,
    Cursor,
    Limit,
    OneActor,
    OneQueue,
    OperatorName,
    Page,
    Past,
    Where,
    decode_cursor,
    encode_cursor,
    operator_of,
)
from callboard.web.operators.transactions import changing, looking
from callboard.web.state import CurrentState

router = APIRouter(prefix="/messages", tags=["operators"])

#: What has waited longest is asked for, not what the history forgets next.
OLDEST_STATES = (State.QUEUED, State.DELAYED, State.RUNNING)


class Cancel(Change):
    """Messages that are to be cancelled."""

    ids: list[UUID] = Field(min_length=1, max_length=IDS_MAX)


@router.get("")
def get_messages(
    *,
    state: CurrentState,
    queue: OneQueue = None,
    actor: OneActor = None,
    in_state: Annotated[
        list[State] | None, Query(alias="state", max_length=6, description="May be given several times.")
    ] = None,
    since: Past = None,
    until: Past = None,
    where: Where = None,
    oldest: Annotated[bool, Query(description="Oldest first; without state only what has not ended.")] = False,
    cursor: Cursor = None,
    limit: Limit = PAGE_DEFAULT,
) -> Page[MessageLine]:
    """List messages wherever they are, by the moment of sending, newest first; without their arguments."""
    wanted = MessageFilter(
        queue_name=queue,
        actor_name=actor,
        states=tuple(in_state or (OLDEST_STATES if oldest else State)),
        since=None if since is None else parse_past(since, name="since"),
        until=None if until is None else parse_past(until, name="until"),
        path=where,
    )
    after = decode_cursor(cursor, datetime, UUID)
    with looking(state) as database:
        found = messages.list_messages(
            database, wanted, limit=limit + 1, is_oldest=oldest, after=(after[0], after[1]) if after else None
        )
    next_cursor = encode_cursor(*found[limit - 1].place) if len(found) > limit else None
    return Page(items=found[:limit], next_cursor=next_cursor)


@router.get("/{message_id}")
def get_message(message_id: UUID, state: CurrentState) -> MessageStory:
    """Tell the whole story of a message: where it is, its arguments, every attempt, what operators did to it."""
    with looking(state) as database:
        return message_stories.tell_story(database, str(message_id))


@router.get("/{message_id}/explain")
def explain_message(message_id: UUID, state: CurrentState) -> Explanation:
    """Say why a message is not running, and what to do."""
    with looking(state) as database:
        found = explanations.explain(database, str(message_id), retry_limit=state.settings.max_retries)
    if found.code in ("unknown", "forgotten"):
        raise NotFound(f"{found.sentence} {found.advice}")
    return found


@router.post("/cancel")
def cancel_messages(change: Cancel, state: CurrentState, operator: OperatorName) -> Cancelled:
    """Cancel messages: a waiting one never runs, a running one is asked to stop."""
    with changing(state) as database:
        return cancellations.cancel(database, [str(id_) for id_ in change.ids], operator_of(operator, change))
