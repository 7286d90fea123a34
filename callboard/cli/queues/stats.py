"""callboard stats: figures that move, once or as a live screen."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from callboard.cli.output import (
    Form,
    count,
    duration,
    is_wide,
    note_left_out,
    plain_name,
    print_table,
    run_time,
    show,
    styled,
)
from callboard.cli.queues.commands import empty_in
from callboard.errors import CallboardError, InvalidRequest
from callboard.ops.queues.listing import QueueView

REFRESH_S = 2.0


def stats(
    watch: bool = typer.Option(False, "--watch", "-w", help="Stay, and refresh every 2 s; q or Ctrl-C leaves."),
    output: Form = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids"),
) -> None:
    """Show what comes and goes in each queue, and how it changes."""
    if not watch:
        rows = _read()
        if output is Form.TABLE:
            print_table(_table(rows, {}, wide=is_wide()))
            note_left_out(() if is_wide() else ("delayed", "oldest", "mean run", "needed", "threads"))
        else:
            show(rows, {}, output, id_of=lambda row: row.queue_name)
        return
    if not sys.stdout.isatty():
        raise InvalidRequest("--watch needs a terminal. Without it, callboard stats prints the figures once.")
    with contextlib.suppress(KeyboardInterrupt):
        _watch(Console(highlight=False))


def _read() -> list[QueueView]:
    # A transaction a look: one that stayed open would keep vacuum from cleaning up behind the queue.
    from callboard.app import get_pool
    from callboard.ops.queues.listing import list_queues

    with get_pool().cursor() as cursor:
        return list_queues(cursor)


def _watch(screen: Console) -> None:
    first: dict[str, QueueView] = {}
    before: dict[str, QueueView] = {}
    rows: list[QueueView] = []
    began_clock = time.monotonic()
    with _single_keys(), Live(console=screen, screen=True, auto_refresh=False) as live:
        while True:
            trouble = ""
            try:
                rows = _read()
            except CallboardError as error:
                trouble = str(error)
            first = first or {row.queue_name: row for row in rows}
            head = _head(time.monotonic() - began_clock, rows, first, trouble)
            live.update(Group(head, _table(rows, before, wide=is_wide())), refresh=True)
            before = {row.queue_name: row for row in rows}
            if _key_within(REFRESH_S) in ("q", "Q"):
                return


def _head(watched_s: float, rows: list[QueueView], first: dict[str, QueueView], trouble: str) -> RenderableType:
    line = Text.assemble(
        ("callboard", "bold"),
        f"  {datetime.now(UTC):%H:%M:%S} UTC  watched for {duration(watched_s)}",
        f"  ready {_change(rows, first, 'ready')}  dead {_change(rows, first, 'dead')}",
        ("  q leaves", "dim"),
    )
    return Group(line, styled(trouble, "bold red") if trouble else Text(""))


def _change(rows: list[QueueView], first: dict[str, QueueView], name: str) -> str:
    since = sum(getattr(row, name) - getattr(first.get(row.queue_name, row), name) for row in rows)
    return f"{since:+,}"


def _table(rows: list[QueueView], before: dict[str, QueueView], *, wide: bool) -> Table:
    """Make the table; each change since the last look stands behind its figure."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1) if wide else (0, 1, 0, 0))
    table.add_column("queue", no_wrap=True, min_width=max([5, *(len(plain_name(row.queue_name)) for row in rows)]))
    narrow = ("ready", "", "running", "in/min", "out/min", "empty in", "dead", "")
    all_of_them = ("ready", "", "delayed", "running", "oldest", "in/min", "out/min", "mean run", "empty in", "needed")
    for name in (*all_of_them, "threads", "dead", "") if wide else narrow:
        table.add_column(name, justify="left" if not name else "right", no_wrap=True, min_width=len(name) or 5)
    for row in rows:
        last = before.get(row.queue_name, row)
        ready, dead = (
            (count(row.ready), _delta(row.ready - last.ready)),
            (count(row.dead), _delta(row.dead - last.dead)),
        )
        pace: list[str | Text] = [count(row.in_per_min), count(row.out_per_min)]
        cells: list[str | Text] = [*ready, count(row.running), *pace, empty_in(row), *dead]
        if wide:
            needed = "" if row.workers_needed is None else count(row.workers_needed)
            pace = [duration(row.oldest_ready_s), *pace, run_time(row.mean_run_s), empty_in(row), needed]
            cells = [*ready, count(row.delayed), count(row.running), *pace, count(row.threads), *dead]
        table.add_row(Text(plain_name(row.queue_name)), *cells, style="dim" if row.pause else "")
    return table


def _delta(change: int) -> Text:
    return Text(f"{change:+,}", style="red" if change > 0 else "green") if change else Text("")


@contextmanager
def _single_keys() -> Iterator[None]:
    """Get each key as it is pressed, and put the terminal back as it was."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    kept = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, kept)


def _key_within(seconds: float) -> str:
    """Wait for a key and return it; empty when none came in time."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    # Not sys.stdin.read(): it would wait for a whole buffer.
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""
