"""Old habits: failed, retry, forget and flush, as the workers before this one called them."""

from __future__ import annotations

from typing import Annotated

import typer

from callboard.cli.choosing.confirming import DryRun, Reason, Yes
from callboard.cli.dead_letters import changes as dead_changes
from callboard.cli.dead_letters import commands as dead
from callboard.cli.dead_letters.options import Queue, check_reason, dead_filter
from callboard.cli.output import Form
from callboard.errors import InvalidRequest
from callboard.ops.dead_letters.filter import DeadFilter
from callboard.ops.moments import parse_past

OUTPUT = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")


def failed(
    *,
    id_: Annotated[str | None, typer.Argument(metavar="ID", help="Id of the message to show.")] = None,
    queue: Queue = None,
    limit: int = typer.Option(50, min=1, max=100_000, help="Most rows"),
    output: Form = OUTPUT,
) -> None:
    """Show one dead letter, or list the newest: an old name of dead show and dead list."""
    if id_ is not None:
        dead.show_one(id_, output)
    else:
        dead.show_list(dead_filter(queue=queue), limit, output)


def retry(
    *,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID|all", help="Ids of messages, or all.")] = None,
    queue: Queue = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Form = OUTPUT,
) -> None:
    """Put dead letters back into their queues: an old name of dead retry."""
    is_all = ids == ["all"]
    if ids is not None and "all" in ids and not is_all:
        raise InvalidRequest("Give ids, or all, not both.")
    dead_changes.retry(
        ids=None if is_all else ids, queue=queue, all_=is_all, yes=yes, dry_run=dry_run, reason=reason, output=output
    )


def forget(
    *,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of messages; - reads them from stdin.")],
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Form = OUTPUT,
) -> None:
    """Throw dead letters away: an old name of dead discard."""
    check_reason(reason)
    which = dead_filter(ids)
    dead_changes.discard_chosen(which, is_all=False, yes=yes, dry_run=dry_run, reason=reason, output=output)


def flush(
    *,
    hours: Annotated[
        int | None, typer.Option("--hours", min=1, max=87_600, help="Only what died so long ago, h.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Form = OUTPUT,
) -> None:
    """Delete all dead letters, or the older ones, for good: an old name of dead purge."""
    check_reason(reason)
    which = DeadFilter(until=None if hours is None else parse_past(f"{hours}h", name="--hours"))
    dead_changes.purge_chosen(which, is_all=True, yes=yes, dry_run=dry_run, reason=reason, output=output)
