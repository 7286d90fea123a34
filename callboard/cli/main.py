"""The command's entry: what surrounds every command, and how an error becomes a sentence and an exit code."""

from __future__ import annotations

import io
import os
import sys

import typer
import typer.main

from callboard import __version__
from callboard.cli.command_line import base_install, usage
from callboard.cli.command_line.commands import Commands
from callboard.cli.output import note, say

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
    cls=Commands,
    help="Background jobs on Postgres: run them, look into them, put them right.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Show the version and exit.", is_eager=True),
) -> None:
    if version:
        say(__version__)
        raise typer.Exit
    if context.invoked_subcommand is not None:
        _prepare(context.invoked_subcommand)


def _prepare(command: str) -> None:
    """Let lists read every row, let what .env says to libraries act, and name what takes the place of old variables."""
    from callboard.app import export_library_variables, get_pool
    from callboard.settings import successors

    # One odd row must not take a list from an operator.
    get_pool().read_everything()
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
    try:
        sys.exit(usage.run(typer.main.get_command(app), sys.argv[1:]))
    except (ModuleNotFoundError, FileNotFoundError) as error:
        # A command's module is imported when it runs, and may need more than is there.
        base_install.refusal(error)()
    except Exception as error:
        # Late: the errors of all parts are known to it, and with them Dramatiq and Postgres.
        from callboard.cli.command_line import failures

        exit_code = failures.told(error)
        if exit_code is None:
            raise
        sys.exit(exit_code)
