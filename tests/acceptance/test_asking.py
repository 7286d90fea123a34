"""Every command that destroys or repeats something asks first, whichever way its messages are chosen."""

from __future__ import annotations

import pytest

from tests.acceptance.terminals import Terminal
from tests.postgres.ops.rows import Rows, days_ago
from tests.unit.pages import commands

#: Every option by which messages are chosen, with a value that matches what the test wrote.
CHOICES = {
    "ids": ["{dead}"],
    "id_": ["{dead}"],
    "queue": ["--queue", "jobs"],
    "actor": ["--actor", "job"],
    "died_of": ["--died-of", "permanent"],
    "group": ["--group", "0ac6f2b81d3e"],
    "since": ["--since", "7d"],
    "until": ["--until", "1h"],
    "where": ["--where", '$.to == "ann@example.org"'],
    "older_than": ["--older-than", "1h"],
    "hours": ["--hours", "1"],
    "all_": ["--all"],
    "name": ["jobs"],
    "names": ["jobs"],
}
#: Options that say how, not which.
HOW = {"yes", "dry_run", "reason", "output", "canary", "wait", "kwargs", "replace_kwargs", "args", "force"}
#: What commands take in another way than the table says.
OTHERWISE = {
    "retry ids": ["all"],
    "messages cancel ids": ["{queued}"],
    "queues pause until": ["--all", "--until", "1h"],
}
#: Who names the letters or queues has chosen them: docs/cli.md says that these are not asked about again.
NOT_ASKED = {"dead retry ids", "queues pause names", "queues resume names"}

ASKING = {name: command for name, command in commands().items() if any(p.name == "yes" for p in command.params)}


def ways():
    for name, command in ASKING.items():
        chosen = [parameter.name for parameter in command.params if parameter.name not in HOW]
        for choice in chosen:
            words = OTHERWISE.get(f"{name} {choice}", CHOICES.get(choice))
            assert words is not None, f"{name} has a new way to choose: {choice}"
            yield name, choice, words
        # And with a way of going on that asks no second question.
        if any(parameter.name == "canary" for parameter in command.params):
            yield name, "canary", ["--all", "--canary"]
    # Flush needs no choice: it takes everything.
    yield "flush", "nothing", []


@pytest.fixture
def ids(connection):
    def query(statement, *parameters, **named):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or named or None)
            return cursor.fetchall() if cursor.description else []

    rows = Rows(query)
    message = (
        '{"actor_name": "job", "queue_name": "jobs", "args": [], "kwargs": {"to": "ann@example.org"}, "options": {}}'
    )
    queued = rows.queued(message=message, available_at=days_ago(-1))
    dead = rows.dead(0.2, actor_name="job", message=message, fingerprint="0ac6f2b81d3e")
    rows.insert("callboard.actors", actor_name="job", queue_name="jobs")
    return {"queued": queued, "dead": dead}


@pytest.fixture
def contents(connection):
    """Everything that a command might change."""

    def read():
        tables = ("dramatiq.queue", "callboard.dead_letters", "callboard.message_history", "callboard.audit_log")
        with connection.cursor() as cursor:
            found = []
            for table in tables:
                cursor.execute(f"SELECT t::text FROM {table} AS t ORDER BY 1")
                found.append(cursor.fetchall())
            return found

    return read


def test_every_destructive_verb_is_among_them():
    assert ASKING.keys() >= {"dead retry", "dead discard", "dead purge", "retry", "forget", "flush"}
    assert ASKING.keys() >= {"queues discard", "messages cancel"}


def test_without_a_terminal_nothing_happens_unless_it_was_said(ids, contents, shell):
    before, trouble = contents(), {}
    for name, choice, words in ways():
        if f"{name} {choice}" in NOT_ASKED:
            continue
        ran = shell.run_callboard(*name.split(), *(word.format(**ids) for word in words))
        if ran.returncode != 2 or "say --yes" not in ran.stderr or "1 " not in ran.stderr:
            trouble[name, choice] = (ran.returncode, ran.stderr)
        if contents() != before:
            trouble[name, choice] = "changed something"
            before = contents()
    assert trouble == {}, trouble


@pytest.mark.parametrize(
    "words", [["dead", "retry", "--all"], ["retry", "all"], ["dead", "retry", "--all", "--canary"]]
)
def test_at_a_terminal_no_means_no(words, ids, contents, database_url):
    before = contents()
    terminal = Terminal(100, database_url, *words)
    terminal.wait_for("1 dead letter will be put back. Go on? [y/N]")
    terminal.press("n\n")
    assert terminal.end() == 1
    assert contents() == before
