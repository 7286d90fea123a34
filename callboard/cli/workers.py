"""callboard workers: the worker processes and what they run."""

from __future__ import annotations

from textwrap import fill

import typer

from callboard.cli.output import Form, ago, count, duration, is_narrow, is_wide, note, nothing, run_time, show, size
from callboard.ops.workers import WorkerView
from callboard.plain_text import plain

#: Messages of a process that a table names.
JOBS_SHOWN = 3
#: Columns of a narrow terminal that names of queues may take.
QUEUES_WIDTH = 22


def workers(output: Form = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")) -> None:
    """Show the worker processes: where they are, what they run and for how long, and which seem to be dead."""
    from callboard.app import get_pool
    from callboard.ops.workers import list_workers

    with get_pool().cursor() as cursor:
        rows = list_workers(cursor)
    if not rows:
        raise nothing("No worker process runs. Start some with: callboard work", output)
    columns = {
        "host": lambda row: row.hostname,
        "pid": lambda row: str(row.pid),
        "queues": lambda row: " ".join(row.queues),
        "threads": lambda row: count(row.threads),
        "running": lambda row: count(row.running),
        "up": lambda row: ago(row.started_at),
        "silent": lambda row: duration(row.silent_s) + (" !" if row.is_suspect else ""),
        "memory": lambda row: size(row.rss_bytes),
        "version": lambda row: row.version,
        "runs": _jobs,
    }
    left_out: list[str] = []
    if output is Form.TABLE and is_narrow():
        left_out = ["threads", "memory", "version"]
        del columns["threads"], columns["memory"], columns["version"], columns["runs"]
        columns["queues"] = _folded_queues
        columns["running"] = lambda row: f"{count(row.running)} of {count(row.threads)}"
    elif output is Form.TABLE and not is_wide():
        left_out = ["version"]
        del columns["version"]
        columns["queues"] = _folded_queues
    show(rows, columns, output, id_of=lambda row: row.worker_id, left_out=left_out)
    if "runs" not in columns:
        for row in rows:
            if row.jobs:
                note(f"{plain(row.hostname)}:{row.pid} runs {plain(_jobs(row))}")
    if output is Form.TABLE and any(row.is_suspect for row in rows):
        note("! seems to be dead, frozen or cut off: its messages are taken back when that is certain.")


def _folded_queues(worker: WorkerView) -> str:
    names = " ".join(plain(name) for name in worker.queues)
    return fill(names, QUEUES_WIDTH, break_long_words=False, break_on_hyphens=False)


def _jobs(worker: WorkerView) -> str:
    shown = [f"{job.actor_name or job.queue_name} {run_time(job.run_s)}" for job in worker.jobs[:JOBS_SHOWN]]
    more = worker.running - len(shown)
    return ", ".join(shown) + (f", {more} more" if more > 0 else "")
