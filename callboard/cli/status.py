"""callboard status and health: how things are."""

from __future__ import annotations

import sys

import typer

from callboard.cli.output import Form, duration, note, print_json, show
from callboard.errors import CallboardError

EXIT_UNHEALTHY = 4


def status(output: Form = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")) -> None:
    """Show each queue: what is ready, delayed, running, stuck and dead, and how many worker processes serve it."""
    from callboard.app import get_pool
    from callboard.ops import overview

    with get_pool().cursor() as cursor:
        queues = overview.queue_figures(cursor)
        workers = overview.workers_alive(cursor)
    columns = {
        "queue": lambda row: row.queue_name,
        "ready": lambda row: str(row.ready),
        "delayed": lambda row: str(row.delayed),
        "running": lambda row: str(row.running),
        "stuck": lambda row: str(row.stuck),
        "dead": lambda row: str(row.dead),
        "oldest": lambda row: duration(row.oldest_ready_s),
        "workers": lambda row: str(workers.get(row.queue_name, 0)),
    }
    show(queues, columns, output, id_of=lambda row: row.queue_name)
    if output is Form.TABLE and not workers:
        note("No worker process runs. Start some with: callboard work")


def health() -> None:
    """Exit 0 when the database answers and its schema fits, else 4; for probes that run a command."""
    from callboard.app import check_schema

    try:
        check_schema()
    except CallboardError as error:
        print_json({"status": "unhealthy", "error": str(error)})
        sys.exit(EXIT_UNHEALTHY)
    print_json({"status": "ok"})
