"""The commands: how each is called, what it is for, and where it is. The module of one is imported when it runs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from callboard.cli.command_line.usage import name_arguments


@dataclass(frozen=True)
class Entry:
    """One command, or one group of them."""

    name: str
    #: Of callboard.cli, and the function or the group in it: "processes.serving.work".
    place: str
    #: What the list of commands says; the command's own help is the docstring there, which a test holds to this.
    help: str
    is_hidden: bool = False


#: In the order of the help.
ENTRIES = (
    Entry(
        "demo",
        "development.demo",
        "Run a shop's morning: 40 orders with everything that goes wrong, checked against what the outside saw.",
    ),
    Entry(
        "dev",
        "development.dev",
        "Run database, mail server, YooKassa sandbox, API and workers for daily work, until Ctrl-C.",
    ),
    Entry(
        "work",
        "processes.serving.work",
        "Run WORKER_PROCESSES processes of JOB_CONCURRENCY threads, each replaced on its own when it ends.",
    ),
    Entry("api", "processes.serving.api", "Serve the HTTP API on API_PORT."),
    Entry(
        "start",
        "processes.background.start",
        "Run callboard work in the background of this folder, with logs in logs/; once, however often it is started.",
    ),
    Entry("stop", "processes.background.stop", "End the background worker; what runs has WORKER_SHUTDOWN_S to finish."),
    Entry(
        "restart",
        "processes.background.restart",
        "End the background worker, if one runs, and start it with the options it had.",
    ),
    Entry(
        "logs",
        "processes.background.logs",
        "Print the last lines of the background worker's logs, both files in order of time.",
    ),
    Entry(
        "processes",
        "processes.background.list_processes",
        "Show the processes of the background worker: pid, age, memory, messages ended, and how it is.",
    ),
    Entry(
        "status",
        "health.status.status",
        "Show everything on one screen, and what is not as it should be. Exits 4 when unhealthy.",
    ),
    Entry("stats", "queues.stats.stats", "Show what comes and goes in each queue, and how it changes."),
    Entry(
        "health",
        "health.status.health",
        "Exit 0 when the database answers and its schema fits, else 4; for probes that run a command.",
    ),
    Entry(
        "doctor",
        "health.doctor.doctor",
        "Connect to everything that is configured, and say what is wrong and what to do. Exit code 4 if something is.",
    ),
    Entry(
        "settings",
        "settings.settings",
        "Show what counts of every setting and where it was set; secrets only as set. Exits 2 if something is wrong.",
    ),
    Entry("audit", "audit.audit", "List what operators changed, newest first: when, who, what, how much, why."),
    Entry("size", "queues.commands.size", "Print how many messages wait or run."),
    Entry(
        "workers",
        "workers.workers",
        "Show the worker processes: where they are, what they run and for how long, and which seem to be dead.",
    ),
    Entry(
        "failed",
        "dead_letters.old_names.failed",
        "Show one dead letter, or list the newest: an old name of dead show and dead list.",
    ),
    Entry(
        "retry", "dead_letters.old_names.retry", "Put dead letters back into their queues: an old name of dead retry."
    ),
    Entry("forget", "dead_letters.old_names.forget", "Throw dead letters away: an old name of dead discard."),
    Entry(
        "flush",
        "dead_letters.old_names.flush",
        "Delete all dead letters, or the older ones, for good: an old name of dead purge.",
    ),
    Entry("enqueue", "sending.enqueue", "Send a message to an actor and print its id."),
    Entry(
        "test-email",
        "sending.send_test_email",
        "Send a test mail through the queue, to see that workers and mail server do their part.",
    ),
    # What they were called where people come from: hidden, here and below.
    Entry(
        "test",
        "sending.send_test_email",
        "Send a test mail through the queue, to see that workers and mail server do their part.",
        is_hidden=True,
    ),
    Entry("db", "database.app", "The database's schema: bring it up to date, look at it, print its SQL."),
    Entry("queues", "queues.commands.app", "Queues: how they stand, pausing them, discarding what waits in one."),
    Entry("messages", "messages.commands.app", "Messages: find them, see what happened to one, explain, cancel."),
    Entry(
        "jobs",
        "messages.commands.app",
        "Messages: find them, see what happened to one, explain, cancel.",
        is_hidden=True,
    ),
    Entry("dead", "dead_letters.commands.app", "Dead letters: messages that will not be tried again by themselves."),
    Entry("schedules", "schedules.app", "Periodic messages: what is sent when."),
)


class Commands(TyperGroup):
    """The group of all commands. Listing them reads the entries above; only asking for one imports it."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": {}})
        self.commands: Any = _Loading()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        listed = {entry.name: TyperCommand(entry.name, help=entry.help, hidden=entry.is_hidden) for entry in ENTRIES}
        TyperGroup(commands={**listed}).format_commands(ctx, formatter)


class _Loading(Mapping[str, Any]):
    """Every command by its name, imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entry in ENTRIES)

    def __len__(self) -> int:
        return len(ENTRIES)


@cache
def _load(name: str) -> Any:
    entry = next((entry for entry in ENTRIES if entry.name == name), None)
    if entry is None:
        raise KeyError(name)
    module, _, attribute = entry.place.rpartition(".")
    found = getattr(importlib.import_module(f"callboard.cli.{module}"), attribute)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name, hidden=entry.is_hidden)
    else:
        app.command(name, hidden=entry.is_hidden)(found)
    return name_arguments(typer.main.get_group(app).commands[name])
