"""Every verb of `callboard`, as a person or a script uses it: data on stdout, notes on stderr, exit codes."""

from __future__ import annotations

import json
import uuid

import pytest

from callboard.db import schema
from tests.acceptance.processes import free_port
from tests.conftest import wait_until

COMMANDS = [
    [],
    ["demo"],
    ["dev"],
    ["work"],
    ["api"],
    ["start"],
    ["stop"],
    ["restart"],
    ["logs"],
    ["processes"],
    ["status"],
    ["stats"],
    ["size"],
    ["workers"],
    ["queues"],
    ["queues", "list"],
    ["queues", "pause"],
    ["queues", "resume"],
    ["queues", "discard"],
    ["messages"],
    ["messages", "list"],
    ["messages", "show"],
    ["messages", "explain"],
    ["messages", "cancel"],
    ["health"],
    ["doctor"],
    ["audit"],
    ["enqueue"],
    ["test-email"],
    ["db"],
    ["db", "upgrade"],
    ["db", "current"],
    ["db", "check"],
    ["db", "sql"],
    ["dead"],
    ["dead", "list"],
    ["dead", "groups"],
    ["dead", "show"],
    ["dead", "retry"],
    ["dead", "discard"],
    ["dead", "purge"],
    ["failed"],
    ["retry"],
    ["forget"],
    ["flush"],
    ["schedules"],
    ["schedules", "list"],
    ["schedules", "run"],
    ["schedules", "pause"],
    ["schedules", "resume"],
]


@pytest.fixture
def dead_letter(jobs, shell, db):
    """The id of a message that a worker of the service gave up."""
    id_ = jobs.send("refuse", "door")
    shell.dramatiq("tests.acceptance.jobs")
    wait_until(lambda: db("SELECT 1 FROM callboard.dead_letters"), 30, "the dead letter")
    shell.kill()
    return id_


def test_every_command_explains_itself(shell):
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom callboard.cli import app\n"
        f"for command in {COMMANDS!r}:\n"
        "    result = CliRunner().invoke(app, [*command, '--help'])\n"
        "    assert result.exit_code == 0, command\n"
        "    assert 'Usage:' in result.output and len(result.output.splitlines()) > 3, command\n"
    )
    done = shell.run_python(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_help_names_every_command(shell):
    done = shell.run_callboard("--help")
    assert done.returncode == 0
    for command in (command[0] for command in COMMANDS if command):
        assert f"  {command} " in done.stdout


def test_a_database_is_brought_up_to_date_from_nothing(shell, embedded_server):
    # Given an empty database
    empty = {"DATABASE_URL": embedded_server.recreate_database("cli_upgrade")}
    assert shell.run_callboard("db", "current", **empty).stdout == "none\n"
    check = shell.run_callboard("db", "check", **empty)
    assert (check.returncode, "callboard db upgrade" in check.stderr, check.stdout) == (1, True, "")
    # When it is upgraded, twice
    for _ in range(2):
        upgrade = shell.run_callboard("db", "upgrade", **empty)
        assert (upgrade.returncode, upgrade.stdout) == (0, "")
        assert schema.REVISION in upgrade.stderr
    # Then it is at the newest revision
    assert shell.run_callboard("db", "current", **empty).stdout == f"{schema.REVISION}\n"
    assert shell.run_callboard("db", "check", **empty).returncode == 0


def test_the_sql_of_an_upgrade_is_printed_without_a_database(shell):
    done = shell.run_callboard("db", "sql", DATABASE_URL="")
    assert done.returncode == 0
    assert "CREATE TABLE callboard.dead_letters" in done.stdout
    later = shell.run_callboard("db", "sql", "--from", "0001", DATABASE_URL="").stdout
    assert "CREATE TABLE callboard.dead_letters" not in later and "callboard.payments" in later


def test_status_counts_each_queue_in_three_forms(shell, jobs):
    for name in ("a", "b"):
        jobs.send("note", name)
    table = shell.run_callboard("status")
    assert table.returncode == 0
    [row] = [line.split() for line in table.stdout.splitlines() if line.startswith("jobs")]
    assert row[:3] == ["jobs", "2", "0"]
    assert "callboard work" in table.stdout
    queues = json.loads(shell.run_callboard("status", "-o", "json").stdout)["queues"]
    [figures] = [row for row in queues if row["ready"]]
    assert (figures["queue_name"], figures["ready"], figures["running"], figures["dead"]) == ("jobs", 2, 0, 0)
    assert "jobs" in shell.run_callboard("status", "-o", "ids").stdout.split()


def test_a_dead_letter_is_listed_shown_and_run_again(shell, db, dead_letter):
    # Given a dead letter, in all forms
    assert shell.run_callboard("dead", "list", "-o", "ids").stdout == f"{dead_letter}\n"
    table = shell.run_callboard("dead", "list", "--queue", "jobs").stdout
    assert dead_letter in table and "permanent" in table
    [row] = json.loads(shell.run_callboard("dead", "list", "-o", "json").stdout)
    assert (row["message_id"], row["actor_name"], row["error_class"]) == (dead_letter, "refuse", "PermanentError")
    shown = shell.run_callboard("dead", "show", dead_letter).stdout
    assert "There is no door" in shown and "Traceback" in shown
    assert (
        json.loads(shell.run_callboard("dead", "show", dead_letter, "-o", "json").stdout)["attempts"][0]["attempt"] == 1
    )
    # When it is run again
    retried = shell.run_callboard("dead", "retry", dead_letter)
    # Then it waits under its old id
    assert (retried.returncode, retried.stdout) == (0, f"{dead_letter}\n")
    assert db("SELECT message_id::text, state, generation FROM dramatiq.queue") == [(dead_letter, "queued", 1)]
    # And there is none left, which a script can tell from the exit code
    again = shell.run_callboard("dead", "retry", dead_letter)
    assert (again.returncode, again.stdout, dead_letter in again.stderr) == (3, "", True)
    none = shell.run_callboard("dead", "list")
    assert (none.returncode, none.stdout) == (3, "")


@pytest.mark.parametrize("verb", ["show", "retry"])
def test_an_id_that_is_none_is_a_usage_error_and_an_unknown_one_is_not_found(shell, verb):
    wrong = shell.run_callboard("dead", verb, "42'; DROP TABLE")
    assert (wrong.returncode, "no message id" in wrong.stderr) == (2, True)
    unknown = str(uuid.uuid4())
    missing = shell.run_callboard("dead", verb, unknown)
    assert (missing.returncode, unknown in missing.stderr, missing.stdout) == (3, True, "")


def test_enqueue_stores_a_message_and_prints_its_id(shell, db):
    arguments = {"to": "a@example.org", "template": "welcome", "context": {"name": "Zoë"}}
    options = ["--priority", "7", "--dedupe-key", "once", "--delay", "60"]
    done = shell.run_callboard("enqueue", "send_email", json.dumps(arguments), *options)
    assert done.returncode == 0
    assert db(
        "SELECT message_id::text, actor_name, priority, dedupe_key, available_at > now(), message -> 'kwargs' "
        "FROM dramatiq.queue"
    ) == [(done.stdout.strip(), "send_email", 7, "once", True, arguments)]
    # A second one with the same key is the first one
    assert shell.run_callboard("enqueue", "send_email", json.dumps(arguments), *options).stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["no_such_actor"], 3, "send_email"),
        (["send_email", "{to: a}"], 2, "no JSON"),
        (["send_email", "[1]"], 2, "JSON object"),
        (["send_email", '{"to": "\\u0000"}'], 1, "cannot be stored"),
        (["send_email", "{}", "--delay", "-1"], 2, "--delay"),
    ],
)
def test_a_message_that_makes_no_sense_is_refused(shell, db, arguments, code, says):
    done = shell.run_callboard("enqueue", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr and "Traceback" not in done.stderr
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]


def test_test_email_sends_one_through_the_queue(shell, db):
    done = shell.run_callboard("test-email", "ops@example.org")
    assert done.returncode == 0
    assert db("SELECT message_id::text, message #>> '{kwargs,to}' FROM dramatiq.queue") == [
        (done.stdout.strip(), "ops@example.org")
    ]


def test_health_answers_with_its_exit_code(shell, embedded_server):
    well = shell.run_callboard("health")
    assert (well.returncode, json.loads(well.stdout)) == (0, {"status": "ok"})
    behind = shell.run_callboard("health", DATABASE_URL=embedded_server.recreate_database("cli_health"))
    assert (behind.returncode, "callboard db upgrade" in json.loads(behind.stdout)["error"]) == (4, True)


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("", 2, "DATABASE_URL is not set"),
        ("mysql://localhost/shop", 2, "must start with postgresql://"),
        ("refused", 1, "cannot be reached"),
    ],
)
@pytest.mark.parametrize(
    "command", [["status"], ["db", "upgrade"], ["db", "check"], ["enqueue", "send_email", "{}"]], ids=" ".join
)
def test_a_wrong_database_url_is_a_sentence_not_a_traceback(shell, command, url, code, says):
    if url == "refused":
        url = f"postgresql://shop:a-password@127.0.0.1:{free_port()}/shop"
    done = shell.run_callboard(*command, DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "a-password" not in done.stderr


def test_health_without_a_database_is_unhealthy(shell):
    away = shell.run_callboard("health", DATABASE_URL=f"postgresql://127.0.0.1:{free_port()}/shop")
    assert (away.returncode, json.loads(away.stdout)["status"]) == (4, "unhealthy")


def test_the_version_is_printed(shell):
    from callboard import __version__

    assert shell.run_callboard("--version").stdout == f"{__version__}\n"
