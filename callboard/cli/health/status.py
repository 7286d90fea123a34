"""callboard status and health: how things are."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer

from callboard.cli.output import (
    Form,
    console,
    count,
    duration,
    facts,
    is_narrow,
    print_json,
    print_table,
    say,
    show,
    size,
    styled,
)
from callboard.errors import CallboardError
from callboard.ops.health.status import Level, Status
from callboard.ops.wording import many

EXIT_UNHEALTHY = 4
COLOURS = {Level.HEALTHY: "green", Level.WARNING: "yellow", Level.UNHEALTHY: "red"}


def status(output: Form = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")) -> None:
    """Show everything on one screen, and what is not as it should be. Exits 4 when unhealthy."""
    found = _read()
    if output is Form.JSON:
        print_json(found)
    else:
        if output is Form.TABLE:
            _print_facts(found)
        # Of a narrow terminal a queue's name takes the room; the verdict tells of stuck ones, queues list of the pace.
        dropped = ["stuck", "out/min"] if output is Form.TABLE and is_narrow() else []
        columns = {name: cell for name, cell in COLUMNS.items() if name not in dropped}
        show(found.queues, columns, output, id_of=lambda row: row.queue_name, left_out=dropped)
        if output is Form.TABLE:
            _print_verdict(found)
    if found.level is Level.UNHEALTHY:
        sys.exit(EXIT_UNHEALTHY)


COLUMNS = {
    "queue": lambda row: row.queue_name,
    "ready": lambda row: count(row.ready),
    "delayed": lambda row: count(row.delayed),
    "running": lambda row: count(row.running),
    "stuck": lambda row: count(row.stuck),
    "dead": lambda row: count(row.dead),
    "oldest": lambda row: duration(row.oldest_ready_s),
    "out/min": lambda row: count(row.out_per_min),
    "workers": lambda row: count(row.workers),
    "state": lambda row: "paused" if row.pause else "",
}


def _read() -> Status:
    from callboard.app import get_pool
    from callboard.ops.health import status as condition

    with get_pool().cursor() as cursor:
        return condition.read_status(cursor)


def _print_facts(found: Status) -> None:
    print_table(facts(_facts(found)))
    say()


def _facts(found: Status) -> Iterator[tuple[str, str]]:
    database = found.database
    connections = f"{database.connections} of {database.connections_max} connections"
    answer = f"answered in {found.answered_in_s * 1000:.0f} ms"
    about = (f"Postgres {database.version}", f"schema {found.schema_revision}", size(database.size_bytes), connections)
    yield "database", ", ".join((*about, answer))
    alive = [worker for worker in found.workers if not worker.is_suspect]
    suspects = len(found.workers) - len(alive)
    threads, running = sum(worker.threads for worker in alive), sum(queue.running for queue in found.queues)
    yield (
        "workers",
        f"{many(len(alive), 'process')} with {many(threads, 'thread')}; {many(running, 'message')} running"
        + (f"; {suspects:,} more seem to be dead" if suspects else ""),
    )
    ready = sum(queue.ready for queue in found.queues)
    oldest = max((queue.oldest_ready_s or 0 for queue in found.queues), default=0)
    yield "waiting", f"{ready:,} ready" + (f", the oldest for {duration(oldest)}" if ready else "")
    kept = sum(queue.dead for queue in found.queues)
    yield "dead", f"{database.dead_last_hour:,} in the last hour, {kept:,} kept"


def _print_verdict(found: Status) -> None:
    screen = console()
    screen.print()
    screen.print(styled(found.level.value, f"bold {COLOURS[found.level]}"))
    for reason in found.reasons:
        line = styled(f"  {reason.sentence} ", COLOURS[reason.level]) + styled(f"→ {reason.command}", "bold")
        # A command that is broken in two cannot be copied.
        screen.print(line, soft_wrap=True)


def health() -> None:
    """Exit 0 when the database answers and its schema fits, else 4; for probes that run a command."""
    from callboard.app import check_schema

    try:
        check_schema()
    except CallboardError as error:
        print_json({"status": "unhealthy", "error": str(error)})
        sys.exit(EXIT_UNHEALTHY)
    print_json({"status": "ok"})
