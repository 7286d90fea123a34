"""callboard audit: who changed what."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from callboard.cli.output import Form, is_wide, nothing, show
from callboard.ops.audit import Change
from callboard.ops.wording import moment


def audit(
    action: Annotated[
        str | None, typer.Option(help='Only this action, such as "dead retry", or all of a group: dead')
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only what was changed since: 2h, 7d, 2026-11-24T18:00.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most rows")] = 50,
    output: Annotated[Form, typer.Option("--output", "-o", help="table, json or ids")] = Form.TABLE,
) -> None:
    """List what operators changed, newest first: when, who, what, how much, why."""
    from callboard.app import get_pool
    from callboard.ops.audit import list_changes
    from callboard.ops.moments import parse_past

    since_at = parse_past(since, name="--since") if since is not None else None
    with get_pool().cursor() as cursor:
        changes = list_changes(cursor, action=action, since=since_at, limit=limit)
    if not changes:
        raise nothing("No change matches. Every change by command or API is kept from this version on.", output)
    columns = {
        "when": lambda change: moment(change.changed_at),
        "who": lambda change: change.operator,
        "via": lambda change: change.via,
        "action": lambda change: change.action,
        "count": lambda change: str(change.count),
        "of what": _of_what,
        "why": lambda change: change.reason or "",
    }
    if output is Form.TABLE and not is_wide():
        narrow = {name: columns[name] for name in ("when", "who", "via", "action", "count")}
        narrow["when"] = lambda change: f"{change.changed_at.astimezone(UTC):%m-%d %H:%M}"
        show(changes, narrow, output, id_of=lambda change: str(change.audit_id), below=_what_and_why)
        return
    show(changes, columns, output, id_of=lambda change: str(change.audit_id))


def _what_and_why(change: Change) -> str:
    return ": ".join(filter(None, [_of_what(change), change.reason]))


def _of_what(change: Change) -> str:
    return _short({**change.filter, **change.details})


def _short(asked: dict[str, object]) -> str:
    """Say what was asked for in one line; a list of many ids by its length."""
    parts = []
    for name, value in asked.items():
        if value is None:
            continue
        text = f"{len(value)} of them" if isinstance(value, list) and len(value) > 1 else value
        text = text[0] if isinstance(text, list) and text else text
        # A flag, such as of a canary, is said by its name alone.
        if name in ("since", "until") and isinstance(text, str):
            text = _moment(text)
        said = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
        parts.append(name if text is True else f"{name} {said}")
    return ", ".join(parts)[:80]


def _moment(text: str) -> str:
    """Say a moment that was kept as text as moments are said elsewhere; what is none stays as it is."""
    try:
        return moment(datetime.fromisoformat(text))
    except ValueError:
        return text
