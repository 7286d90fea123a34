"""Rows that are small where they lie and hundreds of megabytes as text: each is buried, and the others go on."""

from __future__ import annotations

import contextlib
import uuid

import pytest

from callboard.broker.claiming import claimer as claiming
from callboard.broker.claiming.wariness import Wariness
from callboard.broker.schedules.declaration import Schedule
from callboard.broker.schedules.scheduler import Scheduler
from callboard.db import connect, sql
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import Workers, opened
from tests.postgres.broker.test_hostile_rows import unlimited  # noqa: F401 - a fixture
from tests.postgres.broker.test_verdicts import actor

#: JSON that a few kilobytes hold, and what Postgres makes of each as text: digits, zeros after the point, letters.
SWELLING = {
    "exponents": "SELECT jsonb_agg('1e131071'::numeric) FROM generate_series(1, 3000)",
    "negative": "SELECT jsonb_agg('-1e131071'::numeric) FROM generate_series(1, 3000)",
    "fractions": "SELECT jsonb_agg('1e-16383'::numeric) FROM generate_series(1, 24000)",
    "scales": "SELECT jsonb_agg(round('0'::numeric, 16000)) FROM generate_series(1, 24000)",
    "thousands": "SELECT jsonb_agg('1e4000'::numeric) FROM generate_series(1, 90000)",
    "letters": "SELECT to_jsonb(repeat(chr(1), 30000000))",
    "nested": "SELECT jsonb_build_object('a', jsonb_build_array(jsonb_build_object('b', (SELECT jsonb_agg("
    "'1e131071'::numeric) FROM generate_series(1, 3000)))))",
}


@pytest.fixture
def url(database_url):
    """One kind of server: making such rows takes long."""
    return database_url


@pytest.fixture
def db(url):
    with opened(url) as query:
        yield query


def insert(db, swelling: str, **columns) -> str:
    message_id = str(uuid.uuid4())
    values = {"queue_name": "jobs", "priority": 0, "lost_workers": 0, **columns}
    db(
        "INSERT INTO dramatiq.queue (message_id, queue_name, priority, lost_workers, message) SELECT %(message_id)s, "
        "%(queue_name)s, %(priority)s, %(lost_workers)s, jsonb_build_object('queue_name', 'jobs', 'actor_name', 'job', "
        f"'args', '[]'::jsonb, 'kwargs', jsonb_build_object('n', ({SWELLING[swelling]})), 'options', '{{}}'::jsonb)",
        message_id=message_id,
        **values,
    )
    return message_id


def ids(db, table: str) -> set[str]:
    return {message_id for (message_id,) in db(f"SELECT message_id::text FROM callboard.{table}")}


@pytest.mark.parametrize("swelling", SWELLING)
@pytest.mark.parametrize("statement", ["claim_one", "claim_alone"])
@pytest.mark.usefixtures("unlimited")
def test_a_claim_of_one_makes_no_text_of_what_swells(db, swelling, statement):
    worker_id = Workers(db).register()
    message_id = insert(db, swelling, lost_workers=2 if statement == "claim_alone" else 0)
    # Far less than making the text takes, which nothing interrupts: it would be over before it is cancelled
    db("SET statement_timeout = '4s'")
    parameters = {"message_id": message_id, "queue_names": ["jobs"], "worker_id": worker_id}
    [row] = db(sql(f"claiming/{statement}"), **parameters)
    assert row[0] == message_id and row[2] is None


def test_what_fits_is_read_whatever_its_numbers(db):
    worker_id = Workers(db).register()
    args = "[1e130000, 1e-16000, -1e4299, 0.000, 123456789012345678901234567890.5, null, [], {}]"
    rows = db(
        "INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (gen_random_uuid(), 'jobs', "
        f"'{{\"args\": {args}}}') RETURNING message_id::text, message::text"
    )
    [(message_id, text)] = rows
    [row] = db(sql("claiming/claim_one"), message_id=message_id, worker_id=worker_id)
    assert row[2] == text


@pytest.mark.parametrize("lost_workers", [0, 2])
@pytest.mark.usefixtures("unlimited")
def test_a_row_that_swells_is_buried_and_holds_up_no_other(broker, db, work, monkeypatch, lost_workers):
    # Given a message whose text takes longer than a claim may
    monkeypatch.setattr(claiming, "CALL_TIMEOUT_S", 1.0)
    monkeypatch.setattr("callboard.broker.claiming.intake.RECLAIM_INTERVAL_S", 0.5)
    swollen = insert(db, "exponents", priority=-5, lost_workers=lost_workers)
    job = actor(broker, lambda: None, actor_name="job")
    sent = {job.send().message_id for _ in range(20)}
    with work():
        # When a worker claims it with others
        wait_until(lambda: ids(db, "dead_letters") == {swollen}, timeout_s=60)
        sent.add(job.send().message_id)
        wait_until(lambda: ids(db, "message_history") == sent, timeout_s=30)
    # Then it is where a person sees it, and says what it is
    [(reason, text)] = db("SELECT reason, error_message FROM callboard.dead_letters")
    assert reason == "invalid" and "more than 1048576 bytes" in text


def test_a_schedule_whose_arguments_swell_keeps_no_other_from_its_turn(db, url, caplog):
    # Given two schedules that are due, the arguments of one of which become hundreds of megabytes
    db("DELETE FROM callboard.schedules")
    worker_id = Workers(db).register()
    with contextlib.closing(connect(url, autocommit=True)) as connection:

        def execute(name, parameters, before):
            with connection.cursor() as cursor:
                cursor.execute(before + sql(name), parameters)
                return cursor.fetchall() if cursor.description else []

        clock = Scheduler(
            execute, [Schedule(name, "job", "jobs", 0, "0 6 * * *", "UTC") for name in ("a", "b")], lambda *_: None
        )
        clock.register(worker_id)
        db("UPDATE callboard.schedules SET next_at = now() - interval '1 second'")
        swollen = f"jsonb_build_object('n', ({SWELLING['exponents']}))"
        db(f"UPDATE callboard.schedules SET kwargs = {swollen} WHERE schedule_name = 'a'")
        # When the leader sends what is due
        clock.send_when_due()
    # Then the other one is sent, and the log names this one
    assert db("SELECT count(*) FROM dramatiq.queue") == [(1,)]
    [fields] = [record.callboard_fields for record in caplog.records]
    assert fields["schedule"] == "a" and "kwargs of schedule a have more than" in fields["error"]


def test_claims_are_for_many_again_when_the_lost_ones_messages_have_been_met():
    wariness = Wariness()
    assert not wariness.is_on
    # Given a claim of three that was lost, one of whose messages it holds still
    wariness.begin(3)
    wariness.note_round(["a", "b"], ["b"])
    assert wariness.is_on
    wariness.note_round(["b", "c"], ["b", "c"])
    assert wariness.is_on
    # Then what others take and hold now is no reason to go on, and what is held from then on is
    wariness.note_round(["b", "d"], ["b", "d"])
    assert wariness.is_on
    wariness.note_round(["d"], ["d"])
    assert not wariness.is_on


def test_where_nothing_waits_nothing_is_waited_for():
    wariness = Wariness()
    wariness.begin(500)
    wariness.note_round([], [])
    assert not wariness.is_on
