"""Commands whose database refuses, whose output nobody wants, or which somebody interrupts."""

from __future__ import annotations

import json
import signal
from urllib.parse import quote

import psycopg2
import pytest

LOOKS = [["messages", "list"], ["queues", "list"], ["dead", "list"], ["schedules", "list"], ["workers"], ["audit"]]
#: A fresh database has schedules already.
EMPTY = [look for look in LOOKS if look[0] != "schedules"]
CHANGES = [["queues", "pause", "emails", "--force"], ["dead", "purge", "--all", "--yes"]]


def refused(done, says):
    assert done.returncode == 1 and done.stdout == ""
    assert says in done.stderr and "Traceback" not in done.stderr and "LINE" not in done.stderr, done.stderr


@pytest.mark.parametrize("command", [*LOOKS, *CHANGES, ["status"], ["stats"], ["size"]], ids=" ".join)
def test_without_a_schema_every_command_says_how_to_make_it(shell, embedded_server, *, command):
    bare = embedded_server.recreate_database("bare")
    refused(shell.run_callboard(*command, DATABASE_URL=bare), "callboard db upgrade")


@pytest.mark.parametrize("command", [["messages", "list"], ["status"], CHANGES[0]], ids=" ".join)
def test_a_user_without_rights_is_told_so(shell, db, database_url, *, command):
    db("DROP ROLE IF EXISTS guest")
    db("CREATE ROLE guest LOGIN")
    refused(shell.run_callboard(*command, DATABASE_URL=f"{database_url}&user=guest"), "lacks a grant")


def test_a_database_that_takes_no_changes_is_told(shell, database_url):
    url = f"{database_url}&options={quote('-c default_transaction_read_only=on')}"
    refused(shell.run_callboard(*CHANGES[0], DATABASE_URL=url), "takes no changes")
    send = ["enqueue", "send_email", '{"to": "a@example.org"}']
    refused(shell.run_callboard(*send, DATABASE_URL=url), "default_transaction_read_only is on. Send it again;")


def test_a_lock_that_does_not_come_free_is_told(shell, database_url):
    url = f"{database_url}&options={quote('-c lock_timeout=100ms')}"
    holder = psycopg2.connect(database_url)
    holder.cursor().execute("LOCK TABLE dramatiq.queue")
    for command in (["messages", "list"], ["queues", "pause", "emails"]):
        refused(shell.run_callboard(*command, DATABASE_URL=url), "Another transaction holds")
    holder.close()


def test_a_name_that_somebody_sent_does_not_reach_the_terminal_as_it_is(shell, db):
    db("SELECT callboard.enqueue(actor => 'job', kwargs => '{}', queue => E'\\x1b[31mred')")
    done = shell.run_callboard("size", "nosuch")
    assert done.returncode == 3 and "\\x1b[31mred" in done.stderr and "\x1b" not in done.stderr


@pytest.mark.parametrize("command", [*EMPTY, ["dead", "groups"], ["failed"]], ids=" ".join)
def test_an_empty_list_is_json_too(shell, command):
    done = shell.run_callboard(*command, "-o", "json")
    assert (done.returncode, json.loads(done.stdout)) == (3, []) and done.stderr


@pytest.mark.parametrize("command", ["retry", "discard", "purge"])
def test_a_change_of_nothing_is_json_too(shell, db, command):
    done = shell.run_callboard("dead", command, "--all", "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["message_ids"]) == (3, [])


def test_ctrl_c_says_what_a_canary_has_done(shell, db):
    letter = """
        INSERT INTO callboard.dead_letters (message_id, reason, queue_name, actor_name, message, priority, attempt,
            retries, lost_workers, generation, enqueued_at, first_failed_at)
        SELECT gen_random_uuid(), 'permanent', 'jobs', 'job', '{}', 0, 1, 0, 0, 0, now(), now()
        FROM generate_series(1, 20)"""
    db(letter)
    canary = shell.callboard("dead", "retry", "--all", "--canary", "--yes")
    canary.wait_for_text("1 put back; waiting")
    canary.popen.send_signal(signal.SIGINT)
    assert canary.wait() == 130
    assert "Interrupted while retrying, after 1 of 20." in canary.log and "Traceback" not in canary.log
    assert db("SELECT count(*) FROM dramatiq.queue") == [(1,)]
    assert db("SELECT action, count FROM callboard.audit_log") == [("dead retry", 1)]


def test_a_terminal_without_unicode_shows_escapes(shell, db):
    db("SELECT callboard.enqueue(actor => 'job', kwargs => '{}', queue => 'почта 📮')")
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    table = shell.run_callboard("queues", "list", **ascii_only)
    assert (table.returncode, "Traceback" in table.stderr) == (0, False)
    rows = json.loads(shell.run_callboard("queues", "list", "-o", "json", **ascii_only).stdout)
    assert rows[0]["queue_name"] == "почта 📮"


def test_thousands_of_cancelled_ids_are_counted_and_some_named(shell, db):
    db("SELECT callboard.enqueue(actor => 'job', kwargs => '{}', queue => 'jobs') FROM generate_series(1, 2000)")
    ids = [row[0] for row in db("SELECT message_id::text FROM dramatiq.queue")]
    assert len(shell.run_callboard("messages", "cancel", "--yes", *ids).stdout.split()) == 2000
    again = shell.run_callboard("messages", "cancel", "--yes", *ids)
    assert again.returncode == 3 and "2000 had ended already" in again.stderr and len(again.stderr) < 2_000
    kept = db("SELECT count, filter ->> 'ids_count', jsonb_array_length(filter -> 'ids') FROM callboard.audit_log")
    assert kept == [(2000, "2000", 1000)]
