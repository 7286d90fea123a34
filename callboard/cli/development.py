"""callboard demo and dev: everything on one machine."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from callboard.cli.output import note


def demo(
    exit_: bool = typer.Option(False, "--exit", help="End after the summary."),
    check: bool = typer.Option(False, "--check", help="Run nothing; compare the last morning's records once more."),
) -> None:
    """Run a shop's morning: 40 orders with everything that goes wrong, checked against what the outside saw."""
    from callboard.dev.demo import check_again, run_morning

    sys.exit(check_again(Path.cwd()) if check else run_morning(Path.cwd(), exits=exit_))


def dev() -> None:
    """Run database, mail server, YooKassa sandbox, API and workers for daily work, until Ctrl-C."""
    from callboard.dev.daily import run_daily

    note("Starting …")
    sys.exit(run_daily(Path.cwd()))
