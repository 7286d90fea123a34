"""/api/v1/dead: what failed for good, in single letters and by cause."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from callboard.ops.dead_letters import reading as dead_letters
from callboard.ops.dead_letters.filter import REASONS, DeadFilter
from callboard.ops.dead_letters.reading import DeadGroup, DeadLetter, DeadStory
from callboard.ops.moments import parse_past
from callboard.web.operators.requests import (
    PAGE_DEFAULT,
    Cursor,
    Limit,
    OneActor,
    OneQueue,
    Page,
    Past,
    Where,
    decode_cursor,
    encode_cursor,
)
from callboard.web.operators.transactions import looking
from callboard.web.requests.texts import Text
from callboard.web.state import CurrentState

router = APIRouter(prefix="/dead", tags=["operators"])


def _which(
    *,
    queue: OneQueue = None,
    actor: OneActor = None,
    died_of: Annotated[
        Text | None, Query(max_length=40, description=f"Only with this reason: {', '.join(REASONS)}.")
    ] = None,
    group: Annotated[Text | None, Query(max_length=40, description="Only of this cause, a fingerprint.")] = None,
    since: Past = None,
    until: Past = None,
    where: Where = None,
) -> DeadFilter:
    return DeadFilter(
        queue=queue,
        actor=actor,
        reason=died_of,
        group=group,
        since=None if since is None else parse_past(since, name="since"),
        until=None if until is None else parse_past(until, name="until"),
        where=where,
    )


Which = Annotated[DeadFilter, Depends(_which)]


@router.get("")
def get_dead(state: CurrentState, which: Which, cursor: Cursor = None, limit: Limit = PAGE_DEFAULT) -> Page[DeadLetter]:
    """List dead letters, newest first; without their arguments."""
    before = decode_cursor(cursor, datetime, UUID)
    with looking(state) as database:
        found = dead_letters.list_dead(
            database, which, limit=limit + 1, before=(before[0], before[1]) if before else None
        )
    next_cursor = encode_cursor(found[limit - 1].died_at, found[limit - 1].message_id) if len(found) > limit else None
    return Page(items=found[:limit], next_cursor=next_cursor)


@router.get("/groups")
def get_dead_groups(state: CurrentState, which: Which, limit: Limit = PAGE_DEFAULT) -> Page[DeadGroup]:
    """List the causes of dead letters, the most frequent first: how many, since when, and their course over time."""
    with looking(state) as database:
        return Page(items=dead_letters.group_dead(database, which, limit=limit))


@router.get("/{message_id}")
def get_dead_letter(message_id: UUID, state: CurrentState) -> DeadStory:
    """Show one dead letter: its message, and every attempt with its error."""
    with looking(state) as database:
        return dead_letters.show_dead(database, str(message_id))
