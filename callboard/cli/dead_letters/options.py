"""What the commands on dead letters share: the options that say which ones, and reading ids."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated, Any

import typer

from callboard.cli.choosing.options import read_ids
from callboard.errors import InvalidRequest
from callboard.ops.dead_letters.filter import REASONS, DeadFilter
from callboard.ops.moments import check_order, parse_past

#: A filter on arguments reads every message, and a batch writes hundreds, s.
TIMEOUT_S = 60.0

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of messages; - reads them from stdin.")]
Queue = Annotated[str | None, typer.Option("--queue", help="Only of this queue.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Only of this actor.")]
DIED_OF = f"Only with this reason: {', '.join(REASONS)}."
DiedOf = Annotated[str | None, typer.Option("--died-of", help=DIED_OF)]
#: Where nothing is changed, --reason cannot be taken for the one that the audit log keeps.
DiedOfOrReason = Annotated[str | None, typer.Option("--died-of", "--reason", help=DIED_OF)]
Group = Annotated[str | None, typer.Option("--group", help="Only of this cause; see: callboard dead groups")]
Since = Annotated[str | None, typer.Option("--since", help="Only what died since: 2h, 7d, 2026-11-24T18:00.")]
Until = Annotated[str | None, typer.Option("--until", help="Only what died before: 2h, 7d, 2026-11-24T18:00.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]


def dead_filter(
    ids: list[str] | None = None,
    *,
    queue: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
    group: str | None = None,
    since: str | None = None,
    until: str | None = None,
    where: str | None = None,
) -> DeadFilter:
    """Make a filter of what was typed. Raises: InvalidRequest."""
    since_at = None if since is None else parse_past(since, name="--since")
    until_at = None if until is None else parse_past(until, name="--until")
    check_order(since_at, until_at)
    return DeadFilter(
        ids=tuple(read_ids(ids)) if ids else None,
        queue=queue,
        actor=actor,
        reason=reason,
        group=group,
        since=since_at,
        until=until_at,
        where=where,
    )


def check_reason(reason: str | None) -> None:
    """Return unless a reason for the audit log was meant as a filter. Raises: InvalidRequest."""
    if reason in REASONS:
        raise InvalidRequest(
            f"--reason {reason} would be kept in the audit log. To choose letters by what they died of, "
            f"say --died-of {reason}."
        )


def transaction() -> AbstractContextManager[Any]:
    """Lend a cursor inside a transaction of its own."""
    from callboard.app import get_pool

    return get_pool().cursor(TIMEOUT_S)
