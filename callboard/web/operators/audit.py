"""GET /api/v1/audit: who changed what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from callboard.ops.audit import Change, list_changes
from callboard.ops.moments import parse_past
from callboard.web.operators.requests import PAGE_DEFAULT, Cursor, Limit, Page, Past, decode_cursor, encode_cursor
from callboard.web.operators.transactions import looking
from callboard.web.requests.texts import Text
from callboard.web.state import CurrentState

router = APIRouter(prefix="/audit", tags=["operators"])


@router.get("")
def get_changes(
    state: CurrentState,
    action: Annotated[
        Text | None, Query(max_length=100, description='Such as "dead retry", or "dead" for all that begins with it.')
    ] = None,
    since: Past = None,
    cursor: Cursor = None,
    limit: Limit = PAGE_DEFAULT,
) -> Page[Change]:
    """List what operators changed, newest first."""
    place = decode_cursor(cursor, int)
    since_at = None if since is None else parse_past(since, name="since")
    with looking(state) as database:
        changes = list_changes(
            database, action=action, since=since_at, before_id=place[0] if place else None, limit=limit + 1
        )
    next_cursor = encode_cursor(changes[limit - 1].audit_id) if len(changes) > limit else None
    return Page(items=changes[:limit], next_cursor=next_cursor)
