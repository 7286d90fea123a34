"""Who changed what: one row for every change that an operator makes, in the transaction of the change."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from callboard.db import sql
from callboard.errors import InvalidRequest

#: Longest name and reason that are kept, characters.
OPERATOR_MAX = 200
REASON_MAX = 1_000

Via = Literal["cli", "api", "dashboard"]

#: Ids that the audit log and sentences name one by one.
IDS_KEPT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever changes something, the door he came through, and why."""

    name: str
    via: Via
    reason: str | None = None

    def __post_init__(self) -> None:
        for what, text, limit in (("operator", self.name, OPERATOR_MAX), ("reason", self.reason or "", REASON_MAX)):
            if len(text) > limit or "\0" in text:
                raise InvalidRequest(f"The {what} must have at most {limit} characters and no NUL, got {len(text)}.")


@dataclass(frozen=True, slots=True)
class Change:
    """A row of the audit log; filter is what was asked for, count how much it changed."""

    audit_id: int
    changed_at: datetime
    operator: str
    via: str
    action: str
    filter: dict[str, Any]
    count: int
    reason: str | None
    details: dict[str, Any]


def operator_of_shell(reason: str | None = None) -> Operator:
    """Return who sits at this terminal: user@host."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"  # A container's number without a name.
    return Operator(f"{user}@{socket.gethostname()}"[:OPERATOR_MAX], "cli", reason)


def record(
    cursor: Any,
    operator: Operator,
    action: str,
    *,
    filter: Mapping[str, Any],  # noqa: A002 - the column's name
    count: int,
    details: Mapping[str, Any] | None = None,
) -> int:
    """Write a change down, in the caller's transaction: the two exist together or not at all. Return its audit_id."""
    cursor.execute(
        sql("audit/record"),
        {
            "operator": operator.name,
            "via": operator.via,
            "action": action,
            "filter": json.dumps(dict(filter), default=str),
            "count": count,
            "reason": operator.reason,
            "details": json.dumps(dict(details or {}), default=str),
        },
    )
    return int(cursor.fetchone()[0])


def add(cursor: Any, audit_id: int, count: int) -> None:
    """Count what one more transaction of the same change did; a long change has several."""
    cursor.execute(sql("audit/add"), {"audit_id": audit_id, "count": count})


def list_changes(
    cursor: Any, *, action: str | None = None, since: datetime | None = None, before_id: int | None = None, limit: int
) -> list[Change]:
    """Return changes, newest first; before_id is the audit_id where the page before this one ended."""
    cursor.execute(sql("audit/list"), {"action": action, "since": since, "before_id": before_id, "limit": limit})
    return [Change(*row) for row in cursor.fetchall()]
