"""callboard start, stop, restart, logs and list: the background worker of this folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from callboard.cli.output import Form, ago, count, note, say, show, size
from callboard.cli.processes.serving import MaxJobs, MaxRss, MaxTime, Modules, Queues
from callboard.ops.wording import command
from callboard.processes.background.worker import BackgroundWorker

#: What the end of a worker takes beyond the grace of what it runs, s.
STOP_MARGIN_S = 15
EXIT_UNHEALTHY = 4
#: Marks that a container's runtime leaves.
CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


def start(
    modules: Modules = None,
    *,
    queues: Queues = None,
    max_jobs: MaxJobs = None,
    max_time: MaxTime = None,
    max_rss: MaxRss = None,
) -> None:
    """Run callboard work in the background of this folder, with logs in logs/; once, however often it is started."""
    from callboard.processes.worker_supervisor import work_order

    work_order(max_jobs=max_jobs, max_time_s=max_time, max_rss_mb=max_rss)
    given = {"--queues": queues, "--max-jobs": max_jobs, "--max-time": max_time, "--max-rss": max_rss}
    options = [part for name, value in given.items() if value is not None for part in (name, str(value))]
    _start([*options, *(modules or [])])


def stop() -> None:
    """End the background worker; what runs has WORKER_SHUTDOWN_S to finish."""
    if not _stop():
        note("No background worker runs in this folder.")


def restart() -> None:
    """End the background worker, if one runs, and start it with the options it had."""
    from callboard.processes.background import worker as background

    _stop()
    _start(background.last_arguments(Path()))


def logs(
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on with what is written from now on"),
    lines: int = typer.Option(50, "--lines", "-n", min=0, help="How many of the last lines"),
) -> None:
    """Print the last lines of the background worker's logs, both files in order of time."""
    from callboard.processes.background import log_files
    from callboard.processes.background import worker as background

    folder = background.LOG_FOLDER
    if not folder.exists():
        note(f"There are no logs in {folder}/ yet. They come with: callboard start")
    if not follow:
        for line in log_files.recent(folder, lines):
            say(line)
        return
    try:
        for line in log_files.follow(folder, lines):
            say(line)
            # A pipe or a file would keep it back until more comes.
            sys.stdout.flush()
    except KeyboardInterrupt:
        return


def list_processes(output: Form = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")) -> None:
    """Show the processes of the background worker: pid, age, memory, messages ended, and how it is."""
    from callboard.processes.background.worker import background_state

    worker = background_state()
    columns = {
        "process": lambda row: row.role,
        "pid": lambda row: str(row.pid),
        "age": lambda row: ago(row.started_at),
        "memory": lambda row: size(row.rss_bytes),
        "messages": lambda row: "" if row.messages_ended is None else count(row.messages_ended),
        "state": lambda row: row.state,
    }
    if worker is None and output is Form.TABLE:
        note("No background worker runs in this folder. Start one with: callboard start")
        return
    show(worker.processes if worker else [], columns, output, id_of=lambda row: str(row.pid))


def _start(arguments: list[str] | tuple[str, ...]) -> None:
    from callboard.app import FOLDER_VARIABLE, LOG_FOLDER_VARIABLE, check_settings
    from callboard.processes.background import worker as background

    # Said here rather than in its log: what it cannot work with, it would end of at once.
    check_settings("work")
    if os.geteuid() == 0 and _is_container():
        note("This is a container: its own supervisor restarts, limits and logs better. There, run: callboard work")
    worker, is_new = background.start(
        Path(), arguments, lambda logs, place: {LOG_FOLDER_VARIABLE: str(logs), FOLDER_VARIABLE: str(place)}
    )
    if worker.why_idle is not None:
        note(
            f"{_name(worker)} runs in the background and works on nothing yet: {worker.why_idle}. "
            "It begins by itself when that is over; see: callboard logs -f. To end it: callboard stop"
        )
        raise typer.Exit(EXIT_UNHEALTHY)
    if is_new:
        note(f"Started {_name(worker)}. Logs: {background.LOG_FOLDER}/, or: callboard logs -f")
    else:
        note(f"It runs already: {_name(worker)}, since {ago(worker.started_at)}.")


def _stop() -> bool:
    """Stop it and say what that came to; return whether there was one."""
    from callboard.app import get_settings
    from callboard.processes.background import worker as background

    stopped = background.stop(Path(), get_settings().worker_shutdown_s + STOP_MARGIN_S)
    if stopped is None:
        return False
    if stopped.was_killed:
        note(
            f"Background worker {stopped.pid} did not end within {stopped.took_s:.0f} s and was killed. "
            "What it ran is run again."
        )
    else:
        note(f"Background worker {stopped.pid} has ended, after {stopped.took_s:.0f} s.")
    return True


def _name(worker: BackgroundWorker) -> str:
    return f"{command('work', *worker.arguments)} (pid {worker.pid})"


def _is_container() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(Path(mark).exists() for mark in CONTAINER_MARKS)
