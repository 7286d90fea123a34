"""Retrying one dead letter with other arguments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

import psycopg2

from callboard.db import sql
from callboard.db.rows.row_limits import LEVELS_MAX, MESSAGE_BYTES_MAX, is_too_deep
from callboard.errors import Conflict, InvalidRequest, NotFound
from callboard.ops import audit
from callboard.ops.audit import Operator
from callboard.ops.dead_letters.changes import LIMITS, Changed, put_back, refusals


@dataclass(frozen=True, slots=True)
class Edit:
    """Other arguments: kwargs are merged into those the message has, or replace them; args replace."""

    kwargs: dict[str, Any] | None = None
    args: list[Any] | None = None
    replaces_kwargs: bool = False

    def changed_keys(self, before: dict[str, Any]) -> list[str]:
        """Return the names of the arguments that it changes, adds or takes away."""
        after = self.kwargs or {}
        changed = {key for key, value in after.items() if key not in before or before[key] != value}
        if self.replaces_kwargs and self.kwargs is not None:
            changed |= before.keys() - after.keys()
        return sorted(changed)


def parse_edit(*, kwargs: str | None = None, replace_kwargs: str | None = None, args: str | None = None) -> Edit:
    """Read other arguments, given as JSON. Raises: InvalidRequest."""
    if kwargs is not None and replace_kwargs is not None:
        raise InvalidRequest(
            "Give --kwargs, which changes some arguments, or --replace-kwargs, which gives all of them."
        )
    named = kwargs if kwargs is not None else replace_kwargs
    name = "--kwargs" if kwargs is not None else "--replace-kwargs"
    return Edit(
        None if named is None else _parsed(name, named, dict, """an object: '{"to": "ann@example.org"}'"""),
        None if args is None else _parsed("--args", args, list, """an array: '["A-17", 3]'"""),
        replaces_kwargs=replace_kwargs is not None,
    )


def retry_edited(cursor: Any, message_id: str, edit: Edit, operator: Operator) -> Changed:
    """Change a dead letter's arguments and put it back, in the caller's transaction.

    The audit log keeps the names of the changed arguments, not their values.
    Raises: NotFound, InvalidRequest; Conflict where the row holds no message.
    """
    with refusals():
        generation, before = _lock(cursor, message_id)
        details: dict[str, Any] = {"changed_kwargs": edit.changed_keys(before)}
        if edit.args is not None:
            details["changed_args"] = True
        cursor.execute("SAVEPOINT edited")
        _write(cursor, message_id, edit)
        revived, held = put_back(cursor, [message_id], [generation])
    if revived:
        audit.record(cursor, operator, "dead retry", filter={"ids": [message_id]}, count=1, details=details)
    else:
        # Nobody would look for a change in what stays dead.
        cursor.execute("ROLLBACK TO SAVEPOINT edited")
    return Changed(tuple(letter.message_id for letter in revived), tuple(held))


def _lock(cursor: Any, message_id: str) -> tuple[int, dict[str, Any]]:
    cursor.execute(LIMITS + sql("dead_letters/lock"), {"message_id": message_id})
    row = cursor.fetchone()
    if row is None:
        raise NotFound(f"No dead letter has the id {message_id}. List them with: callboard dead list")
    generation, is_message, kwargs = row
    if not is_message:
        raise Conflict(f"Dead letter {message_id} holds no message whose arguments could be changed. Discard it.")
    return generation, kwargs if isinstance(kwargs, dict) else {}


def _write(cursor: Any, message_id: str, edit: Edit) -> None:
    parameters = {
        "message_id": message_id,
        "kwargs": None if edit.kwargs is None else json.dumps(edit.kwargs),
        "args": None if edit.args is None else json.dumps(edit.args),
        "replaces_kwargs": edit.replaces_kwargs,
    }
    try:
        cursor.execute(sql("dead_letters/edit"), parameters)
    except psycopg2.DataError as error:
        raise InvalidRequest(f"The new arguments cannot be stored: {error.diag.message_primary}.") from None
    size_bytes = cursor.fetchone()[0]
    if size_bytes > MESSAGE_BYTES_MAX:
        raise InvalidRequest(
            f"With the new arguments the message has {size_bytes} bytes, the limit is {MESSAGE_BYTES_MAX}. "
            "Store the data and send its id."
        )


def _parsed(name: str, text: str, kind: type, example: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        value = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
        raise InvalidRequest(f"{name} is no JSON: {error}. Give {example}") from None
    if not isinstance(value, kind):
        raise InvalidRequest(f"{name} must be {example}, got {text[:60]!r}.")
    # One level down, as it is in the message.
    if is_too_deep([value]):
        raise _too_deep(name)
    return value


def _too_deep(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"{name} nests too deep: a message may have {LEVELS_MAX} levels. Store the data, send its id."
    )
