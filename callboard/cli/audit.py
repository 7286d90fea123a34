"""callboard audit: who changed what."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from callboard.cli.output import Form, nothing, show


def audit(
    action: Annotated[
        str | None, typer.Option(help='Only this action, such as "dead retry", or all of a group: dead')
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only since then: a span such as 2h, or a moment")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most rows")] = 50,
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
        "when": lambda change: change.changed_at.strftime("%Y-%m-%d %H:%M:%S"),
        "who": lambda change: change.operator,
        "via": lambda change: change.via,
        "action": lambda change: change.action,
        "COUNT": lambda change: str(change.count),
        "of what": lambda change: _short(change.filter),
        "why": lambda change: change.reason or "",
    }
    show(changes, columns, output, id_of=lambda change: str(change.audit_id))


def _short(asked: dict[str, object]) -> str:
    """Say what was asked for in one line; a list of many ids by its length."""
    parts = []
    for name, value in asked.items():
        if value is None:
            continue
        text = f"{len(value)} of them" if isinstance(value, list) and len(value) > 1 else value
        text = text[0] if isinstance(text, list) and text else text
        parts.append(f"{name} {text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)}")
    return ", ".join(parts)[:80]
