"""A command that tests fork does what one that a shell starts does: the suite counts on it."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.acceptance import forked_commands
from tests.acceptance.test_dead_letters import bury


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["queues"], 2),
        (["nonsense"], 2),
        (["queues", "list"], 0),
        (["dead", "list", "-o", "json"], 0),
        (["dead", "purge", "--all"], 2),
        (["messages", "show", "7"], 2),
        (["dead", "list", "--queue", "emial"], 3),
        (["status", "-o", "ids"], 0),
        (["settings"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_forked_command_says_and_returns_what_a_started_one_does(shell, db, words, code):
    bury(db)
    forked, started = shell.run_callboard(*words), shell.start_callboard(*words)
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    assert forked.returncode == code


def test_its_database_fails_as_for_a_started_one(shell):
    nobody = {"DATABASE_URL": "postgresql://a@127.0.0.1:1/none"}
    forked, started = (run("queues", "list", **nobody) for run in (shell.run_callboard, shell.start_callboard))
    assert (forked.returncode, forked.stderr) == (started.returncode, started.stderr)
    assert "cannot be reached" in forked.stderr


def test_it_reads_what_it_is_given_and_the_folder_that_it_is_in(shell, db):
    ids = bury(db, 3)
    (shell.folder / ".env").write_text("SMTP_HOST=mail.elsewhere.test\n")
    done = shell.run_callboard("dead", "retry", "-", "-o", "json", stdin="\n".join(ids))
    assert (done.returncode, sorted(json.loads(done.stdout)["message_ids"])) == (0, sorted(ids))
    assert "mail.elsewhere.test" in shell.run_callboard("settings").stdout == shell.start_callboard("settings").stdout


def test_one_that_does_not_end_is_ended(shell, db, connection):
    connection.autocommit = False
    db("LOCK TABLE callboard.dead_letters")
    environment = {**shell.environment, "PGOPTIONS": "-c lock_timeout=0"}
    with pytest.raises(subprocess.TimeoutExpired):
        forked_commands.run(("dead", "list"), environment, shell.folder, "", 0.5)


@pytest.mark.parametrize("variable", ["PYTHONUTF8", "LC_ALL", "PROMETHEUS_MULTIPROC_DIR"])
def test_what_an_interpreter_reads_at_its_start_is_not_given_to_a_fork(shell, variable):
    assert forked_commands.can_fork(("status",), shell.environment)
    assert not forked_commands.can_fork(("status",), {**shell.environment, variable: "C"})
    assert not forked_commands.can_fork(("work",), shell.environment)
