"""Periodic messages as an operator sees and changes them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import uuid

import psycopg2
import pytest

from callboard.broker.schedules.declaration import Schedule as Declaration
from callboard.broker.schedules.scheduler import Scheduler
from callboard.db import sql
from callboard.errors import Conflict, NotFound
from callboard.ops import audit, schedules
from tests.postgres.broker.fake_workers import Workers, opened
from tests.postgres.ops.rows import Rows

ANN = audit.Operator("ann@host", "cli", reason="month end")


@pytest.fixture
def db(each_database_url):
    with opened(each_database_url) as query:
        query("DELETE FROM callboard.schedules")
        yield query


@pytest.fixture
def worker_id(db):
    """A worker that serves queue jobs and declares two schedules, one of them on a queue that nobody serves."""
    worker_id = Workers(db).register()

    def execute(name, parameters, before):
        return db(before + sql(name), **parameters)

    daily = Declaration("daily", "job", "jobs", 3, "0 6 * * *", "Europe/Moscow", {"kind": "register"})
    Scheduler(execute, [daily, Declaration("tidy", "tidy_up", "attic", 0, "0 * * * *")], lambda *_: None).register(
        worker_id
    )
    return worker_id


@pytest.fixture
def cursor(each_database_url, worker_id):
    connection = psycopg2.connect(each_database_url)
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


def by_name(cursor):
    return {each.name: each for each in schedules.list_schedules(cursor)}


def test_a_schedule_is_listed_with_when_what_and_where(cursor):
    daily, tidy = schedules.list_schedules(cursor)
    assert (daily.name, daily.cron, daily.timezone, daily.catch_up) == ("daily", "0 6 * * *", "Europe/Moscow", "latest")
    assert (daily.actor_name, daily.queue_name, daily.kwargs) == ("job", "jobs", {"kind": "register"})
    assert (daily.state, daily.is_served, daily.last_slot_at, daily.last_state) == ("active", True, None, None)
    assert (tidy.name, tidy.is_served) == ("tidy", False)
    assert schedules.notes_on([daily, tidy]) == [
        "No worker serves queue 'attic': what tidy sends waits there. Start one with: callboard work their_module"
    ]


@pytest.mark.parametrize("state", ["queued", "delayed", "running", "done", "dead", "discarded", None])
def test_the_fate_of_the_last_message_is_shown(cursor, db, state):
    rows, lease = Rows(db), {"lease_id": 1, "worker_id": str(uuid.uuid4())}
    message_id = {
        "queued": rows.queued,
        "delayed": lambda: rows.queued(available_at="2100-01-01"),
        "running": lambda: rows.queued(state="running", **lease),
        "done": lambda: rows.history(1),
        "discarded": lambda: rows.history(1, outcome="discarded"),
        "dead": lambda: rows.dead(1),
        None: lambda: str(uuid.uuid4()),
    }[state]()
    db("UPDATE callboard.schedules SET last_message_id = %s, last_slot_at = now()", message_id)
    assert by_name(cursor)["daily"].last_state == state
    assert by_name(cursor)["daily"].last_message_id == message_id


def test_a_schedule_that_no_living_worker_declares_is_shown_as_such(cursor, db, worker_id):
    db("DELETE FROM callboard.workers WHERE worker_id = %s", worker_id)
    found = by_name(cursor)
    assert {each.state for each in found.values()} == {"not declared"}
    assert schedules.notes_on([*found.values()]) == ["No living worker declares daily, tidy: nothing is sent for it."]


def test_run_sends_one_message_and_leaves_the_slots_alone(cursor, db):
    before = by_name(cursor)["daily"]
    message_id = schedules.run_schedule(cursor, "daily", ANN)
    cursor.connection.commit()
    ((queue_name, priority, message),) = db(
        "SELECT queue_name, priority, message FROM dramatiq.queue WHERE message_id = %s", message_id
    )
    assert (queue_name, priority) == ("jobs", 3)
    assert message.pop("message_timestamp") > 1_700_000_000_000
    assert message == {
        "queue_name": "jobs",
        "actor_name": "job",
        "args": [],
        "kwargs": {"kind": "register"},
        "options": {"schedule": "daily"},
        "message_id": message_id,
    }
    assert by_name(cursor)["daily"] == before
    (change,) = audit.list_changes(cursor, limit=10)
    assert (change.action, change.filter, change.count) == ("schedules run", {"name": "daily"}, 1)
    assert (change.operator, change.reason, change.details) == ("ann@host", "month end", {"message_id": message_id})


def test_run_rings_for_the_workers(cursor, each_database_url):
    listening = psycopg2.connect(each_database_url)
    listening.autocommit = True
    with contextlib.closing(listening), listening.cursor() as ears:
        ears.execute("LISTEN callboard")
        schedules.run_schedule(cursor, "daily", ANN)
        cursor.connection.commit()
        ears.execute("SELECT 1")
        assert [ring.channel for ring in listening.notifies] == ["callboard"]


def test_run_is_refused_while_a_message_holds_the_dedupe_key(cursor, db):
    db("UPDATE callboard.schedules SET dedupe_key = 'one' WHERE schedule_name = 'daily'")
    first = schedules.run_schedule(cursor, "daily", ANN)
    cursor.connection.commit()
    with pytest.raises(Conflict, match=rf"'daily' was not run: message {first} holds its dedupe_key"):
        schedules.run_schedule(cursor, "daily", ANN)
    cursor.connection.rollback()
    assert db("SELECT count(*) FROM dramatiq.queue") == [(1,)]
    assert len(audit.list_changes(cursor, limit=10)) == 1


def test_pause_and_resume_change_what_they_name_and_are_written_down(cursor):
    assert schedules.pause_schedules(cursor, ["tidy", "daily"], ANN) == ["daily", "tidy"]
    assert {each.state for each in by_name(cursor).values()} == {"paused"}
    assert schedules.pause_schedules(cursor, ["daily"], ANN) == []
    assert schedules.resume_schedules(cursor, ["daily"], ANN) == ["daily"]
    assert {name: each.state for name, each in by_name(cursor).items()} == {"daily": "active", "tidy": "paused"}
    changes = audit.list_changes(cursor, limit=10)
    assert [(change.action, change.count) for change in changes] == [("schedules resume", 1), ("schedules pause", 2)]


@pytest.mark.parametrize("verb", [schedules.pause_schedules, schedules.resume_schedules])
def test_an_unknown_name_changes_nothing_and_lists_the_known_ones(cursor, verb):
    with pytest.raises(NotFound, match=r"named 'dayly'. There are: daily, tidy\."):
        verb(cursor, ["daily", "dayly"], ANN)
    with pytest.raises(NotFound, match="named '%'"):
        schedules.run_schedule(cursor, "%", ANN)
    assert {each.state for each in by_name(cursor).values()} == {"active"}
    assert audit.list_changes(cursor, limit=10) == []


def test_where_nothing_is_declared_an_unknown_name_says_so(cursor, db):
    db("DELETE FROM callboard.schedules")
    with pytest.raises(NotFound, match="no worker has declared any yet"):
        schedules.run_schedule(cursor, "daily", ANN)


def test_all_of_it_is_plain_data(cursor):
    listed = schedules.list_schedules(cursor)
    assert json.dumps([dataclasses.asdict(each) for each in listed], default=str)
