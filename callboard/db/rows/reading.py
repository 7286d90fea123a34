"""Reading what Python has no value for: one odd row must not take the whole list from who looks for it.

Moments are brought to the ends of what a row may hold, and JSON that is too deep or no JSON for Python becomes an
object that says so and shows how it begins. The table holds what it holds; whoever needs it as it is asks with psql.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2.extensions import PYDATETIMETZ, new_type, register_type

from callboard.db.rows.row_limits import is_too_deep, may_be_too_deep

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(8999, 12, 31, tzinfo=UTC)
#: How much of a value is shown that cannot be read, characters.
SHOWN_MAX = 200
_TIMESTAMPTZ_OIDS = (1184,)
_JSON_OIDS = (114, 3802)


def register_types(connection: Any) -> None:
    """Let a connection read every moment and every JSON."""
    for kind in (_MOMENT, _JSON):
        register_type(kind, connection)


def _moment(text: str | bytes | None, cursor: Any) -> datetime | None:
    try:
        moment: datetime | None = PYDATETIMETZ(text, cursor)
    except (ValueError, OverflowError, psycopg2.DataError):
        return EARLIEST if str(text).endswith("BC") else LATEST
    return None if moment is None else min(max(moment, EARLIEST), LATEST)


def _json(text: str | bytes | None, _cursor: Any) -> Any:
    if not isinstance(text, str):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _unreadable(text, str(error) if isinstance(error, ValueError) else "it nests too deep")
    return _unreadable(text, "it nests too deep") if may_be_too_deep(text) and is_too_deep(value) else value


def _unreadable(text: str, why: str) -> dict[str, str]:
    return {"unreadable": why, "begins": text[:SHOWN_MAX]}


_MOMENT = new_type(_TIMESTAMPTZ_OIDS, "CALLBOARD_MOMENT", _moment)
_JSON = new_type(_JSON_OIDS, "CALLBOARD_JSON", _json)
