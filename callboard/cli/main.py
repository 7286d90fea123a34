"""The command's entry: its groups, and how an error becomes a sentence and an exit code."""

from __future__ import annotations

import io
import os
import sys

import psycopg2
import typer.main

from callboard import __version__
from callboard.cli import (
    audit,
    background,
    database,
    dead,
    dead_habits,
    development,
    doctor,
    messages,
    queues,
    schedules,
    sending,
    serving,
    settings,
    stats,
    status,
    usage,
    workers,
)
from callboard.cli.output import note, say
from callboard.db import Pool
from callboard.errors import CallboardError, ConfigurationError, InvalidRequest, NotFound
from callboard.ops.refusals import refusal_text

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOTHING_MATCHED = 3

EPILOG = """\
examples:

  callboard dev                          # database, mail server, API and workers for daily work

  callboard work                         # the workers, as WORKER_PROCESSES and JOB_CONCURRENCY say

  callboard status                       # how everything is, and what to do about it

  callboard queues pause emails --until 2h   # for all workers; callboard queues resume emails

  callboard messages explain ID          # why is it not running?

  callboard dead groups                  # what failed for good, by cause

  callboard dead retry --group CAUSE --canary   # run it again: one, then ten, then all

  callboard enqueue send_email '{"to": "a@example.org", "template": "welcome", "context": {"name": "A"}}'
"""

app = typer.Typer(
    help="Background jobs on Postgres: run them, look into them, put them right.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(development.demo)
app.command("dev")(development.dev)
app.command("work")(serving.work)
app.command("api")(serving.api)
app.command("start")(background.start)
app.command("stop")(background.stop)
app.command("restart")(background.restart)
app.command("logs")(background.logs)
app.command("processes")(background.list_processes)
app.add_typer(database.app, name="db")
app.command("status")(status.status)
app.command("stats")(stats.stats)
app.command("health")(status.health)
app.command("doctor")(doctor.doctor)
app.command("settings")(settings.settings)
app.command("audit")(audit.audit)
app.add_typer(queues.app, name="queues")
app.command("size")(queues.size)
app.add_typer(messages.app, name="messages")
# What they were called where people come from.
app.add_typer(messages.app, name="jobs", hidden=True)
app.command("workers")(workers.workers)
app.add_typer(dead.app, name="dead")
app.command("failed")(dead_habits.failed)
app.command("retry")(dead_habits.retry)
app.command("forget")(dead_habits.forget)
app.command("flush")(dead_habits.flush)
app.add_typer(schedules.app, name="schedules")
app.command("enqueue")(sending.enqueue)
app.command("test-email")(sending.send_test_email)
app.command("test", hidden=True)(sending.send_test_email)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Show the version and exit.", is_eager=True),
) -> None:
    if version:
        say(__version__)
        raise typer.Exit
    if context.invoked_subcommand is not None:
        _prepare_settings(context.invoked_subcommand)


def _prepare_settings(command: str) -> None:
    """Let what .env says to libraries act, and name what takes the place of old variables."""
    from callboard.app import export_library_variables
    from callboard.settings import successors

    if command != "settings":  # Which shows where each was set.
        export_library_variables()
    # These say it among what they print, or log.
    if command not in ("settings", "doctor", "work", "api"):
        for line in successors(os.environ):
            note(line)


def main() -> None:
    """Run the command. Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 nothing matched, 4 unhealthy."""
    for stream in (sys.stdout, sys.stderr):
        # A bar or an arrow that a terminal's encoding lacks is shown as its escape.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # One odd row must not take a list from an operator.
    Pool.reads_all = True
    try:
        sys.exit(usage.run(usage.name_arguments(typer.main.get_command(app)), sys.argv[1:]))
    except ConfigurationError as error:
        note(f"The configuration is wrong:\n{error}")
        sys.exit(EXIT_USAGE)
    except InvalidRequest as error:
        note(str(error))
        sys.exit(EXIT_USAGE)
    except NotFound as error:
        note(str(error))
        sys.exit(EXIT_NOTHING_MATCHED)
    except CallboardError as error:
        note(str(error))
        sys.exit(EXIT_FAILED)
    except psycopg2.Error as error:
        note(refusal_text(error))
        sys.exit(EXIT_FAILED)
