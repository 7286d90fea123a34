"""Changing things by command: the options that all such commands take, the question before, the progress during."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from callboard.cli.output import note
from callboard.errors import CallboardError, InvalidRequest, NotFound
from callboard.ops.audit import Operator, operator_of_shell

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many it would be.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Kept in the audit log.")]


def operator(reason: str | None) -> Operator:
    """Return who gives this command."""
    return operator_of_shell(reason)


def approve(count: int, what: str, *, yes: bool, dry_run: bool) -> bool:
    """Say what a command is about to do to how many things, and ask; return whether to do it.

    what reads after the count: "dead letters of queue emails will be put back". Raises: NotFound when it is nothing,
    InvalidRequest where nobody can be asked, CallboardError when the person says no.
    """
    if count == 0:
        raise NotFound(f"Nothing matches: 0 {what}.")
    if dry_run:
        note(f"{count} {what}. Nothing was changed (--dry-run).")
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidRequest(f"{count} {what}. Nobody is at the terminal to confirm that; say --yes.")
    # Not typer.confirm(): it writes to stdout, which is for data.
    note(f"{count} {what}. Go on? [y/N] ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CallboardError("Nothing was changed.")
    return True


@contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """Show a bar on stderr while a long operation runs; yields advance(count). Silent where stderr is no terminal.

    Ctrl-C ends it between two transactions or takes the last one back; how far it came is said anywhere.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        bars.advance(task, count)

    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
            task = bars.add_task(what, total=total)
            yield advance
    except KeyboardInterrupt:
        # The last transaction may have been written although its count never came here.
        note(
            f"Interrupted while {what}, after {done:,} of {total:,}. What is done stays done, and callboard audit "
            "counts it; give the command again for the rest."
        )
        raise
