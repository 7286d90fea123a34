"""callboard schedules: periodic messages, and holding them or sending one now."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from callboard.cli.choosing.confirming import Reason, operator
from callboard.cli.output import Form, ago, duration, note, nothing, say, show
from callboard.plain_text import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from callboard.ops.schedules import Schedule

app = typer.Typer(help="Periodic messages: what is sent when.", no_args_is_help=True)

#: Columns of a terminal from which on the whole list fits.
WIDE = 110
NAMES = typer.Argument(help="Names of schedules")


@app.command("list")
def list_(output: Form = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")) -> None:
    """List schedules: when each was sent last, what became of that, and when it is sent next."""
    from callboard.app import get_pool
    from callboard.ops import schedules

    with get_pool().cursor() as cursor:
        rows = schedules.list_schedules(cursor)
    if not rows:
        raise nothing("There are no schedules: no worker has declared any yet. Start one with: callboard work", output)
    columns: dict[str, Callable[[Schedule], str]] = {
        "name": lambda row: row.name,
        "cron": lambda row: row.cron,
        "zone": lambda row: row.timezone,
        "actor": lambda row: row.actor_name,
        "queue": lambda row: row.queue_name,
        "last": _last,
        "next": _next,
    }
    left_out = []
    if output is Form.TABLE and sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE:
        # A name that is folded cannot be copied; which actor it is, the name mostly tells.
        left_out = ["actor"]
        del columns["actor"]
    show(rows, columns, output, id_of=lambda row: row.name, left_out=left_out)
    if output is Form.TABLE:
        for text in schedules.notes_on(rows):
            note(text)


@app.command("run")
def run(name: str = typer.Argument(help="Name of the schedule"), reason: Reason = None) -> None:
    """Send a message of a schedule now and print its id; its slots stay as they are."""
    from callboard.app import get_pool
    from callboard.ops import schedules

    with get_pool().cursor() as cursor:
        say(schedules.run_schedule(cursor, name, operator(reason)))


@app.command("pause")
def pause(names: list[str] = NAMES, reason: Reason = None) -> None:
    """Send nothing for schedules until they are resumed, and print their names."""
    from callboard.app import get_pool
    from callboard.ops import schedules

    with get_pool().cursor() as cursor:
        changed = schedules.pause_schedules(cursor, names, operator(reason))
    _print_changed(names, changed, "was paused already")


@app.command("resume")
def resume(names: list[str] = NAMES, reason: Reason = None) -> None:
    """Go on with paused schedules, and print their names; missed slots follow each one's catch_up."""
    from callboard.app import get_pool
    from callboard.ops import schedules

    with get_pool().cursor() as cursor:
        changed = schedules.resume_schedules(cursor, names, operator(reason))
    _print_changed(names, changed, "was not paused")


def _print_changed(names: list[str], changed: list[str], otherwise: str) -> None:
    for name in dict.fromkeys(names):
        if name in changed:
            say(name)
        else:
            note(f"{plain(name)} {otherwise}.")


def _last(row: Schedule) -> str:
    return f"{row.last_state or 'gone'} {ago(row.last_slot_at)} ago" if row.last_slot_at else ""


def _next(row: Schedule) -> str:
    if row.state != "active":
        return row.state
    seconds = (row.next_at - datetime.now(UTC)).total_seconds()
    return f"in {duration(seconds)}" if seconds >= 1 else "now"
