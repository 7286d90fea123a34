"""What every request of an operator may carry: who asks and why, where a page begins and how long it is."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from callboard.errors import InvalidRequest
from callboard.ops.audit import OPERATOR_MAX, REASON_MAX, Operator
from callboard.web.requests.texts import Text

PAGE_DEFAULT = 50
PAGE_MAX = 1_000
CURSOR_MAX = 500
#: As many ids as a body of the largest size holds, and some more.
IDS_MAX = 5_000
WHERE_MAX = 1_000

T = TypeVar("T")


class Change(BaseModel):
    """The body of a request that changes something."""

    model_config = ConfigDict(extra="forbid")

    reason: Text | None = Field(None, max_length=REASON_MAX, description="Why; kept in the audit log.")


class DestructiveChange(Change):
    """The body of a request that takes something away or moves much of it."""

    dry_run: bool = Field(False, description="Change nothing, only answer how many it would be.")


class Changed(BaseModel):
    """The names of what a request changed; empty where all was so before."""

    changed: list[str]


class Page(BaseModel, Generic[T]):
    """A part of a list; give next_cursor as cursor for the part after it. None: this is the last one."""

    items: list[T]
    next_cursor: str | None = None


async def _operator(
    x_operator: Annotated[
        Text | None, Header(max_length=OPERATOR_MAX, description="The person behind the client, for the audit log.")
    ] = None,
) -> str:
    return x_operator or "api"


OperatorName = Annotated[str, Depends(_operator)]
#: Of a queue, an actor or a schedule.
Name = Annotated[Text, Path(min_length=1, max_length=255)]
Past = Annotated[Text | None, Query(max_length=60, description="A span back from now, such as 2h, or a moment.")]
OneQueue = Annotated[Text | None, Query(max_length=255, description="Only of this queue.")]
OneActor = Annotated[Text | None, Query(max_length=255, description="Only of this actor.")]
Where = Annotated[
    Text | None,
    Query(max_length=WHERE_MAX, description='An SQL/JSON path over the arguments, such as $.to == "ann@example.org".'),
]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="Most items of one answer.")]
Cursor = Annotated[str | None, Query(max_length=CURSOR_MAX, description="next_cursor of the page before.")]


def operator_of(name: str, change: Change) -> Operator:
    """Return who asks for a change, for the audit log. Raises: InvalidRequest."""
    return Operator(name, "api", change.reason)


def encode_cursor(*place: Any) -> str:
    """Return the place where a page ended as one opaque text."""
    text = json.dumps(place, default=lambda value: value.isoformat(), separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(text: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """Return the place that encode_cursor() wrote, each part of its kind; None for the first page.

    Raises: InvalidRequest.
    """
    if text is None:
        return None
    try:
        place = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return tuple(_part(value, kind) for value, kind in zip(place, kinds, strict=True))
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        raise InvalidRequest(
            f"cursor {text[:80]!r} is none of ours. Give the next_cursor of an answer as it is."
        ) from error


def _part(value: Any, kind: type) -> Any:
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if kind is UUID:
        return str(UUID(value if type(value) is str else ""))
    # A number that Postgres cannot hold is none of ours either.
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < 2**63):
        raise ValueError(f"a part is {value!r}")
    return value
