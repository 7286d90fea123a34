"""The commands that look: queues, messages, workers, status, stats, size; as a person or a script uses them."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import uuid

import psycopg2
import pytest

from tests.acceptance.terminals import Terminal
from tests.postgres.ops.scene import Scene


@pytest.fixture
def scene(database_url):
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    yield Scene(connection.cursor())
    connection.close()


@pytest.fixture
def rows(scene):
    """A message in every state, a worker, and what they are called."""
    scene.actor()
    worker = scene.worker("emails", threads=8)
    return {
        "queued": scene.queued(age_s=10),
        "delayed": scene.queued(age_s=20, due_s=3600, reason="greylisted"),
        "running": scene.running(worker, age_s=30),
        "done": scene.done(age_s=40, worker=worker),
        "discarded": scene.discarded(age_s=50),
        "dead": scene.dead(age_s=60),
    }


def test_queues_are_listed_in_three_forms(shell, rows):
    table = shell.run_callboard("queues", "list")
    [line] = [line.split() for line in table.stdout.splitlines() if line.startswith("emails")]
    assert (table.returncode, line[1:4]) == (0, ["1", "1", "1"])
    [queue] = json.loads(shell.run_callboard("queues", "list", "-o", "json").stdout)
    assert (queue["queue_name"], queue["ready"], queue["dead"], queue["threads"]) == ("emails", 1, 1, 8)
    assert set(queue) >= {"in_per_min", "out_per_min", "mean_run_s", "empty_in_s", "workers_needed", "pause"}
    assert shell.run_callboard("queues", "list", "-o", "ids").stdout == "emails\n"


def test_without_queues_messages_or_workers_nothing_matches(shell):
    for command in (["queues", "list"], ["messages", "list"], ["workers"]):
        done = shell.run_callboard(*command)
        assert (done.returncode, done.stdout) == (3, "") and done.stderr, command
    assert shell.run_callboard("size").stdout == "0\n"
    assert shell.run_callboard("status").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["queues", "pause", "email"], 3, "Known queues: emails"),
        (["queues", "resume", "email"], 3, "Known queues: emails"),
        (["queues", "resume", "emails"], 3, "Not paused"),
        (["queues", "discard", "email", "--yes"], 3, "Known queues: emails"),
        (["queues", "pause"], 2, "Which queues?"),
        (["queues", "pause", "emails", "--until", "yesterday"], 2, "is no moment"),
        (["queues", "pause", "emails", "--until", "2020-01-01"], 2, "has passed"),
        (["queues", "discard", "emails"], 2, "say --yes"),
        (["messages", "list", "--queue", "email"], 3, "Known queues: emails"),
        (["messages", "list", "--actor", "send_mail"], 3, "Known actors: send_email"),
        (["messages", "list", "--since", "1h", "--until", "2h"], 2, "later than"),
        (["messages", "list", "--since", "2999-01-01"], 2, "still to come"),
        (["messages", "list", "--where", "$.to =="], 2, "no JSON path"),
        (["messages", "list", "--where", "$.to == $ann"], 2, "no JSON path"),
        (["messages", "list", "--where", '$.to == "nobody"'], 3, "No message matches"),
        (["messages", "list", "--state", "waiting"], 2, "queued"),
        (["messages", "list", "--limit", "0"], 2, "--limit"),
        (["messages", "show", "42"], 2, "no message id"),
        (["messages", "show", str(uuid.UUID(int=0))], 3, "never stored"),
        (["messages", "explain"], 2, "Give the id"),
        (["messages", "explain", "--dedupe-key", "k"], 2, "Give the id"),
        (["messages", "explain", "--dedupe-key", "k", "--queue", "emails"], 3, "holds the dedupe_key 'k'"),
        (["messages", "cancel", "42"], 2, "no message id"),
        (["messages", "cancel", str(uuid.UUID(int=0))], 2, "say --yes"),
        (["size", "email"], 3, "Known queues: emails"),
        (["stats", "--watch"], 2, "needs a terminal"),
    ],
)
def test_bad_input_is_a_sentence_and_changes_nothing(shell, rows, db, *, arguments, code, says):
    done = shell.run_callboard(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr and "Traceback" not in done.stderr
    assert db("SELECT count(*) FROM dramatiq.queue") == [(3,)]
    assert db("SELECT (SELECT count(*) FROM callboard.queue_controls), (SELECT count(*) FROM callboard.audit_log)") == [
        (0, 0)
    ]


def test_pausing_a_queue_of_the_future_needs_force(shell, db):
    assert shell.run_callboard("queues", "pause", "letters").returncode == 3
    assert shell.run_callboard("queues", "pause", "letters", "--force", "--until", "2h").stdout == "letters\n"
    assert db("SELECT queue_name, paused_until > now() FROM callboard.queue_controls") == [("letters", True)]


def test_a_discard_shows_the_count_and_keeps_the_messages_in_the_history(shell, rows, db):
    dry = shell.run_callboard("queues", "discard", "emails", "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "")
    assert "2 waiting messages of queue emails" in dry.stderr and "Nothing was changed" in dry.stderr
    done = shell.run_callboard("queues", "discard", "emails", "--yes", "--reason", "sent twice")
    assert (done.returncode, done.stdout) == (0, "2\n")
    assert db("SELECT message_id::text, state FROM dramatiq.queue") == [(rows["running"], "running")]
    assert db("SELECT action, count, reason FROM callboard.audit_log") == [("queues discard", 2, "sent twice")]
    again = shell.run_callboard("queues", "discard", "emails", "--yes")
    assert (again.returncode, again.stdout) == (3, "")


def test_messages_are_listed_newest_first_and_their_ids_fit_a_pipe(shell, rows):
    listed = shell.run_callboard("messages", "list", "-o", "ids").stdout.split()
    assert listed == list(rows.values())
    lines = json.loads(shell.run_callboard("messages", "list", "-o", "json").stdout)
    assert [line["state"] for line in lines] == list(rows)
    assert set(lines[0]) >= {"message_id", "queue_name", "actor_name", "attempt", "enqueued_at", "state_at", "note"}
    some = shell.run_callboard("jobs", "list", "--state", "done", "--state", "dead", "--oldest", "-o", "ids").stdout
    assert some.split() == [rows["dead"], rows["done"]]
    pipe = f"{sys.executable} -m callboard.cli messages list --state delayed -o ids"
    shown = shell.run("sh", "-c", f"{pipe} | xargs -n 1 {sys.executable} -m callboard.cli messages explain")
    assert (shown.returncode, "postponed" in shown.stdout, "greylisted" in shown.stdout) == (0, True, True)


def test_the_story_of_a_message_has_its_runs_and_only_the_last_traceback(shell, scene):
    id_ = scene.dead()
    scene.attempt(id_, 1, traceback="Traceback: the first\n")
    scene.attempt(id_, 2, "dead", traceback="Traceback: the second\n", reason="permanent")
    shown = shell.run_callboard("messages", "show", id_).stdout
    assert "a@example.org" in shown and "MailServerDown" in shown
    assert "the second" in shown and "the first" not in shown and "--traceback" in shown
    assert "the first" in shell.run_callboard("messages", "show", id_, "--traceback").stdout
    story = json.loads(shell.run_callboard("messages", "show", id_, "-o", "json").stdout)
    assert set(story) == {"record", "runs", "changes", "holder"}
    assert [run["run_s"] for run in story["runs"]] == [pytest.approx(1.5)] * 2


def test_brackets_in_an_error_are_no_markup(shell, scene):
    id_ = scene.dead()
    scene.attempt(id_, 1, text="[red]no[/nothing] \x1b[31m", traceback=None)
    done = shell.run_callboard("messages", "show", id_)
    assert (done.returncode, "[red]no[/nothing]" in done.stdout) == (0, True)
    assert "\x1b" not in done.stdout


def test_an_explanation_is_a_sentence_and_an_advice(shell, rows, scene):
    done = shell.run_callboard("messages", "explain", rows["running"])
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    found = json.loads(shell.run_callboard("messages", "explain", rows["dead"], "-o", "json").stdout)
    assert (found["message_id"], found["code"]) == (rows["dead"], "dead")
    unknown = shell.run_callboard("messages", "explain", str(uuid.uuid4()))
    assert (unknown.returncode, "never stored" in unknown.stdout) == (3, True)
    held = scene.queued(key="order-1")
    by_key = shell.run_callboard("messages", "explain", "--dedupe-key", "order-1", "--queue", "emails")
    assert (by_key.returncode, held in by_key.stderr) == (0, True)


def test_cancelling_says_what_became_of_each(shell, rows, db):
    unknown = str(uuid.uuid4())
    ids = [rows["queued"], rows["running"], rows["done"]]
    dry = shell.run_callboard("messages", "cancel", *ids, "--dry-run")
    assert (dry.returncode, "3 messages will be cancelled" in dry.stderr) == (0, True)
    done = shell.run_callboard("messages", "cancel", *ids, "--yes", "--reason", "wrong")
    assert (done.returncode, done.stdout.split()) == (0, ids[:2])
    assert "asked to stop" in done.stderr and rows["done"] in done.stderr
    assert db("SELECT outcome FROM callboard.message_history WHERE message_id = %s", rows["queued"]) == [("discarded",)]
    assert "ann" not in shell.run_callboard("messages", "show", rows["running"]).stdout.splitlines()[0]
    piped = shell.run_callboard("messages", "cancel", "-", "--yes", stdin=f"{rows['delayed']}\n")
    assert (piped.returncode, piped.stdout) == (0, f"{rows['delayed']}\n")
    nothing = shell.run_callboard("messages", "cancel", unknown, "--yes")
    assert (nothing.returncode, unknown in nothing.stderr) == (3, True)


def test_workers_are_shown_with_what_they_run_and_suspects_are_marked(shell, rows, scene):
    scene.worker("emails", silent_s=60, pid=99)
    table = shell.run_callboard("workers")
    lines = {line.split()[1]: line for line in table.stdout.splitlines() if line.startswith("node-1")}
    assert "send_email" in lines["17"] and "!" not in lines["17"]
    assert "!" in lines["99"] and "seems to be dead" in table.stderr
    first, _ = json.loads(shell.run_callboard("workers", "-o", "json").stdout)
    assert (first["pid"], first["running"], first["jobs"][0]["message_id"]) == (17, 1, rows["running"])
    assert len(shell.run_callboard("workers", "-o", "ids").stdout.split()) == 2


def test_status_has_everything_on_one_screen_and_a_verdict(shell, rows, db):
    well = shell.run_callboard("status")
    assert (well.returncode, well.stdout.splitlines()[-1]) == (0, "healthy")
    assert "Postgres" in well.stdout and "1 process with 8 threads" in well.stdout
    db("DELETE FROM callboard.workers")
    db("UPDATE dramatiq.queue SET available_at = now() - interval '2 minutes' WHERE state = 'queued'")
    ill = shell.run_callboard("status")
    assert ill.returncode == 4
    assert "unhealthy" in ill.stdout and "No worker serves emails" in ill.stdout and "→ callboard work" in ill.stdout
    found = json.loads(shell.run_callboard("status", "-o", "json").stdout)
    assert (found["level"], found["reasons"][0]["command"]) == ("unhealthy", "callboard work")
    assert set(found) == {"level", "reasons", "schema_revision", "answered_in_s", "database", "workers", "queues"}


def test_size_prints_the_number(shell, rows, scene):
    scene.queued("reports")
    assert shell.run_callboard("size").stdout == "4\n"
    assert shell.run_callboard("size", "emails").stdout == "3\n"


def test_a_narrow_terminal_shows_names_and_whole_ids(database_url, rows):
    for command, text in ((["queues", "list"], "emails"), (["messages", "list"], rows["queued"])):
        terminal = Terminal(40, database_url, *command)
        assert terminal.end() == 0
        assert text in terminal.screen


@pytest.mark.parametrize(("columns", "key"), [(80, "q"), (160, "\x03")])
def test_the_live_screen_refreshes_keeps_no_transaction_and_leaves_by_a_key(
    rows, scene, db, database_url, *, columns, key
):
    terminal = Terminal(columns, database_url, "stats", "--watch")
    try:
        terminal.wait_for("q leaves")
        terminal.wait_for("emails")
        # When something comes, the next look shows by how much
        scene.queued()
        terminal.wait_for("+1")
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND state LIKE 'idle in transaction%'"
        )
        assert db(others) == [(0,)]
        terminal.press(key)
        assert terminal.end() == 0
    except BaseException:
        os.kill(terminal.pid, signal.SIGKILL)
        raise


def test_the_figures_are_printed_once_without_watch(shell, rows):
    assert "emails" in shell.run_callboard("stats").stdout
    assert json.loads(shell.run_callboard("stats", "-o", "json").stdout)[0]["queue_name"] == "emails"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("status",), ["customer_notifications", "oldest"]),
        (("queues", "list"), ["customer_notifications", "empty in"]),
        (("messages", "list", "--state", "delayed"), ["send_order_confirmation", "the mail server"]),
        (("workers",), ["0 of 2", "silent"]),
        (("audit",), ["queues pause", "printer"]),
        (("stats",), ["customer_notifications"]),
    ],
    ids=" ".join,
)
def test_a_table_keeps_names_and_reasons_whole_on_80_columns(*, scene, shell, database_url, arguments, shown):
    scene.actor("send_order_confirmation", "customer_notifications")
    scene.worker("customer_notifications")
    scene.queued("customer_notifications", actor="send_order_confirmation", due_s=60, reason="the mail server is away")
    shell.run_callboard("queues", "pause", "customer_notifications", "--until", "2h", "--reason", "the printer moves")
    terminal = Terminal(80, database_url, *arguments)
    assert terminal.end() == 0
    screen = re.sub(r"\x1b\[[\d;]*m", "", terminal.screen)
    assert all(text in screen for text in shown), screen
    # A sentence may be longer, and so may a command in it, which is copied; a row of a table may not.
    table = [
        line.rstrip()
        for line in screen.splitlines()
        if "→" not in line and "paused until" not in line and "Left out" not in line
    ]
    assert max(map(len, table)) <= 80


@pytest.mark.parametrize(
    "words",
    [("status",), ("queues", "list"), ("messages", "list"), ("workers",), ("audit",), ("stats",), ("dead", "list")],
    ids=" ".join,
)
def test_whatever_80_columns_leave_out_is_named_and_no_name_is_broken(words, scene, shell, database_url):
    # Given names as long as teams choose them
    actor, queue = "synchronise_marketplace_orders", "marketplace_synchronisation"
    scene.actor(actor, queue)
    worker = scene.worker(queue)
    ids = [scene.queued(queue, actor=actor, state="running", worker=worker), scene.dead(queue, actor=actor)]
    shell.run_callboard("queues", "pause", queue, "--reason", "moved")
    # When a command is given on a wide and on a narrow terminal
    wide = shell.run_callboard(*words).stdout
    terminal = Terminal(80, database_url, *words)
    terminal.end()
    screen = re.sub(r"\x1b\[[\d;]*m", "", terminal.screen).replace("\r", "")
    # Then each heading of the wide one stands in the narrow one, as a column, or in the sentence of what is left out
    headings = {
        heading
        for line in wide.splitlines()
        if line.split()[:1] in (["queue"], ["id"], ["host"], ["when"])
        for heading in re.split(r"  +", line.strip())
    }
    missing = {heading for heading in headings if heading not in screen}
    assert missing <= {"actor", "queue", "of what", "why", "error", "runs"}, screen
    # And whatever name or id it shows is whole
    for name in (actor, queue, *ids):
        assert name in screen or name[:12] not in screen, screen
