"""A command loads what it runs, and no other; the list of commands says what each of them says of itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer.main

from callboard.cli import app
from callboard.cli.command_line.commands import ENTRIES

#: What serves, renders or pays, and what nobody needs who only asks or reads.
HEAVY = (
    "fastapi",
    "uvicorn",
    "starlette",
    "boto3",
    "s3fs",
    "fsspec",
    "typst",
    "yookassa",
    "requests",
    "alembic",
    "jinja2",
)
#: What a sentence on a terminal needs none of.
SERVICE = ("dramatiq", "psycopg2", "rich", "pydantic_settings", "callboard.app", "callboard.db", "callboard.ops")
LOADED = """
import sys
sys.argv[0] = "callboard"
from callboard.cli import main
try:
    main()
finally:
    print(*(name for name in {names!r} if name in sys.modules), sep="\\n", file=sys.stderr)
    modules = (name for name in sys.modules if name.startswith("callboard.cli."))
    own = {{name.removeprefix("callboard.cli.") for name in modules}}
    print("commands:", *sorted(own), file=sys.stderr)
"""
#: What every command line needs.
ALWAYS = {"command_line", "main", "output"}


def loaded(*words, names=()):
    """Run a command where no database is; return its exit code, the modules of names that it loaded, and its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(names=names), *words], capture_output=True, text=True, check=False
    )
    *said, own = done.stderr.splitlines()
    return done.returncode, set(said) & set(names), {n for n in own.split()[1:] if n.split(".")[0] not in ALWAYS}


@pytest.mark.parametrize("words", [["--version"], ["--help"], [], ["quux"], ["quux", "--help"]], ids=" ".join)
def test_what_names_no_command_loads_none(words):
    code, heavy, own = loaded(*words, names=(*HEAVY, *SERVICE))
    assert (code in (0, 2), heavy, own) == (True, set(), set())


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (["dead", "list"], "dead_letters.commands"),
        (["messages", "list"], "messages.commands"),
        (["queues", "list"], "queues.commands"),
        (["schedules", "list"], "schedules"),
        (["status"], "health.status"),
        (["stats"], "queues.stats"),
        (["health"], "health.status"),
        (["audit"], "audit"),
        (["workers"], "workers"),
        (["size"], "queues.commands"),
        (["settings"], "settings"),
        (["stop"], "processes.background"),
        (["work", "--once"], "processes.serving"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_command_loads_its_own_module_and_nothing_that_only_others_need(words, own, tmp_path, monkeypatch):
    # Given a command that gets as far as the database, which does not answer
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    _, heavy, commands = loaded(*words, names=HEAVY)
    assert heavy == set()
    # Then its module is loaded, and none of the others that are commands
    others = {entry.place.rpartition(".")[0] for entry in ENTRIES} - {own}
    shared = {"processes.background": {"processes.serving"}, "queues.stats": {"queues.commands"}}.get(own, set())
    assert own in commands and commands & others <= shared


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_list_of_commands_says_what_each_says_of_itself(entry):
    command = typer.main.get_command(app).commands[entry.name]
    assert (command.help, command.hidden) == (entry.help, entry.is_hidden)
