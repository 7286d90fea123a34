"""Rows that break a statement for many: the others go on, and the one ends where a person sees it.

The limits of the tables are taken away first: what they keep out may lie there from before them.
"""

from __future__ import annotations

import json
import os
import threading
import uuid

import psycopg2
import pytest

from callboard.broker.outages.failing import FAILING_AFTER_S
from middleware.worker_boot import worker_health
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import Workers, opened
from tests.postgres.broker.test_verdicts import actor, dead, ended

LIMITS = """
    SELECT conrelid::regclass::text, conname FROM pg_constraint
    WHERE contype = 'c' AND conname ~ '(_between_|_bytes$|_characters$)'
        AND conrelid::regclass::text IN ('dramatiq.queue', 'callboard.dead_letters', 'callboard.message_history')
"""


@pytest.fixture
def db(url):
    with opened(url) as query:
        yield query


@pytest.fixture
def unlimited(db):
    """Take the limits away that a row from before them may break."""
    for table, name in db(LIMITS):
        db(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    db("DROP TRIGGER IF EXISTS refuse_large_insert ON dramatiq.queue")


def insert(db, *, queue_name="jobs", message=None, **columns) -> str:
    message_id = str(uuid.uuid4())
    content = {"queue_name": queue_name, "actor_name": "job", "args": ["bad"], "kwargs": {}, "options": {}}
    content |= {"message_id": message_id, "message_timestamp": 1}
    values = {
        "message_id": message_id,
        "queue_name": queue_name,
        "message": json.dumps(content if message is None else message),
        **columns,
    }
    names = ", ".join(values)
    db(f"INSERT INTO dramatiq.queue ({names}) VALUES ({', '.join(f'%({name})s' for name in values)})", **values)
    return message_id


def sabotage(db, condition: str, *, on: str = "UPDATE", code: str = "22000") -> None:
    """Let Postgres refuse a change of some rows, as it would for a value that nobody has thought of."""
    db(
        "CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'cannot be done' USING ERRCODE = '{code}'; END $$"
    )
    db(
        f"CREATE TRIGGER zz_refuse BEFORE {on} ON dramatiq.queue FOR EACH ROW WHEN ({condition}) "
        "EXECUTE FUNCTION public.refuse()"
    )


@pytest.mark.parametrize(
    "columns",
    [
        {"attempt": 2**31 - 1},
        {"attempt": -(2**31)},
        {"retries": 2**31 - 1},
        {"retries": -(2**31)},
        {"generation": 2**31 - 1},
        {"lost_workers": -(2**31)},
        {"lost_workers": 2**31 - 1},
        {"available_at": "-infinity"},
        {"available_at": "infinity"},
        {"available_at": "4713-01-01 BC"},
        {"available_at": "294276-12-31"},
        {"enqueued_at": "-infinity"},
        {"enqueued_at": "infinity"},
        {"enqueued_at": "294276-12-31"},
        {"enqueued_at": "4713-01-01 BC"},
        {"enqueued_at": "20000-01-01"},
        {"priority": 2**31 - 1},
        {"priority": -(2**31)},
        {"wait_reason": "x" * 10_000_000},
        {"seq": -(2**63)},
        {"seq": 2**63 - 1},
    ],
    ids=lambda columns: str(columns)[:60],
)
def test_no_extreme_of_a_row_keeps_another_message_from_running(broker, db, work, unlimited, columns):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    # Given a row from before the limits, and messages before and after it
    job.send(1)
    insert(db, **columns)
    job.send(2)
    with work() as worker:
        # Then they run
        wait_until(lambda: {1, 2} <= set(ran))
        job.send(3)
        wait_until(lambda: 3 in ran)
        # And the row does not stay between the states
        wait_until(lambda: not db("SELECT 1 FROM dramatiq.queue WHERE state = 'running'"))
        assert worker_health(broker, worker)["unready"] is None


#: Some bytes in the table, and megabytes as text.
NUMBERS = "[" + ",".join(["1e131071"] * 20) + "]"


@pytest.mark.parametrize(
    "message",
    [
        "null",
        "1",
        '"text"',
        "[]",
        "{}",
        '{"actor_name": "job", "args": [], "kwargs": {}, "options": {}, "more": ' + NUMBERS + "}",
        '{"actor_name": "job", "args": [1' + "0" * 5000 + '], "kwargs": {}, "options": {}}',
        '{"actor_name": "job", "args": ' + "[" * 5000 + "]" * 5000 + ', "kwargs": {}, "options": {}}',
        '{"actor_name": "job", "args": ["' + "x" * 20_000_000 + '"], "kwargs": {}, "options": {}}',
    ],
    ids=lambda message: f"{message[:60]} {len(message)}",
)
def test_whatever_stands_in_the_place_of_a_message_is_a_dead_letter(broker, db, work, unlimited, message):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    message_id = str(uuid.uuid4())
    row = "INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (%s, 'jobs', %s)"
    db(row, message_id, message)
    job.send("good")
    with work():
        wait_until(lambda: dead(db) and ended(db))
    # Then it is one with its content, and the other has run
    [(reason, content)] = db("SELECT reason, message = %s::jsonb FROM callboard.dead_letters", message)
    assert (reason, content, ran) == ("invalid", True, ["good"])


def test_a_name_of_an_actor_that_fits_no_index_is_a_dead_letter(broker, db, work, unlimited):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    insert(db, message={"actor_name": "".join(f"{n:x}" for n in range(5000)), "args": [], "kwargs": {}, "options": {}})
    job.send("good")
    with work():
        wait_until(lambda: dead(db) and ended(db))
    assert db("SELECT reason, length(actor_name) FROM callboard.dead_letters") == [("invalid", 63)]
    assert ran == ["good"]


def test_a_row_that_cannot_be_claimed_is_buried_with_its_content(broker, db, work):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    sabotage(db, "NEW.state = 'running' AND NEW.message @> '{\"args\": [\"bad\"]}'")
    for n in range(3):
        job.send(n)
    bad = insert(db, priority=-5)
    with work():
        wait_until(lambda: dead(db) and len(ended(db)) == 3)
    assert db("SELECT message_id::text, reason, error_message, message -> 'args' FROM callboard.dead_letters") == [
        (bad, "invalid", "cannot be done", ["bad"])
    ]


def test_a_suspect_that_cannot_be_claimed_is_buried_too(broker, db, work):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    sabotage(db, "NEW.state = 'running' AND NEW.message @> '{\"args\": [\"bad\"]}'")
    insert(db, lost_workers=2)
    job.send(1)
    with work():
        wait_until(lambda: dead(db) and ended(db), 20)
    assert ran == [1]


def test_nothing_is_buried_where_it_is_the_database_that_fails(broker, db, work):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    # Given a database in which no message can be claimed
    sabotage(db, "NEW.state = 'running'")
    job.send(1)
    with work() as worker:
        # Then the worker says so, and is not ready
        says = lambda text: text in (worker_health(broker, worker)["unready"] or "")  # noqa: E731 - short
        wait_until(lambda: says("claims have failed for") and says("cannot be done"), FAILING_AFTER_S + 10)
        # And goes on as soon as it is put right
        db("DROP TRIGGER zz_refuse ON dramatiq.queue")
        wait_until(lambda: ran == [1])
        wait_until(lambda: worker_health(broker, worker)["unready"] is None)
    assert dead(db) == []


@pytest.mark.parametrize("code", ["22003", "23514", "54000", "XX001"])
def test_a_verdict_that_cannot_be_written_holds_up_no_other(broker, db, work, code):
    started, may_end, ran = threading.Semaphore(0), threading.Event(), []

    def job(n):
        started.release()
        may_end.wait(10)
        ran.append(n)

    jobs = actor(broker, job)
    # Given messages that run beside one whose end Postgres refuses, whatever the verdict
    sabotage(db, "OLD.state = 'running' AND OLD.message @> '{\"args\": [\"bad\"]}'", on="DELETE", code=code)
    bad = insert(db)
    for n in range(3):
        jobs.send(n)
    with work(threads=4) as worker:
        for _ in range(4):
            assert started.acquire(timeout=10)
        may_end.set()
        # Then the others' verdicts are written
        wait_until(lambda: len(ended(db)) == 3)
        # And it waits, for there is no way to the dead letters, and does not run again and again
        waits = "SELECT 1 FROM dramatiq.queue WHERE message_id = %s AND state = 'queued' AND available_at > now()"
        wait_until(lambda: db(waits, bad))
        assert worker_health(broker, worker)["unready"] is None
    assert ran.count("bad") == 1


@pytest.mark.parametrize("code", ["22003", "54000"])
def test_one_lost_message_that_cannot_be_taken_back_keeps_no_other_lost(broker, db, work, code):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    # Given two messages of a dead worker, one of which Postgres will not change
    workers = Workers(db)
    job.send("good")
    workers.claim(worker_id := workers.register())
    bad = insert(db)
    workers.claim(worker_id)
    db("DELETE FROM callboard.workers")
    sabotage(db, 'OLD.message @> \'{"args": ["bad"]}\'', code=code)
    with work() as worker:
        # Then the other one runs, and it is a dead letter
        wait_until(lambda: ran == ["good"], 20)
        wait_until(lambda: dead(db), 20)
        assert worker_health(broker, worker)["unready"] is None
    assert db("SELECT message_id::text FROM callboard.dead_letters") == [(bad,)]


@pytest.mark.parametrize(
    "columns",
    [
        {"worker_id": "00000000-0000-0000-0000-000000000000"},
        {"worker_id": "ffffffff-ffff-ffff-ffff-ffffffffffff"},
        {"worker_id": "11111111-2222-3333-4444-555555555555", "claimed_at": None},
        {"worker_id": "11111111-2222-3333-4444-555555555555", "claimed_at": "8000-01-01"},
        {"worker_id": "11111111-2222-3333-4444-555555555555", "claimed_at": "1900-01-01", "lease_id": -(2**63)},
        {"worker_id": "own", "claimed_at": None},
        {"worker_id": "own", "claimed_at": "8000-01-01"},
    ],
    ids=lambda columns: str(columns)[:60],
)
def test_no_row_that_was_written_as_running_stays_so(broker, db, work, columns, monkeypatch):
    monkeypatch.setattr("callboard.broker.claiming.intake.RECLAIM_INTERVAL_S", 0.2)
    ran = []
    actor(broker, ran.append, actor_name="job")
    with work():
        wait_until(lambda: broker.worker.heartbeat.may_claim)
        if columns["worker_id"] == "own":
            columns = {**columns, "worker_id": broker.worker.worker_id}
        insert(db, state="running", **{"lease_id": 2**63 - 1, **columns})
        wait_until(lambda: ran == ["bad"], 20)


def test_in_an_encoding_that_lacks_a_letter_a_message_runs_all_the_same(broker, db, work, monkeypatch):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    job.send("привет")
    job.send("hello")
    # Given a process whose sessions are in another encoding
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with work():
        wait_until(lambda: sorted(ran) == ["hello", "привет"])
        wait_until(lambda: len(ended(db)) == 2)
    assert dead(db) == []
    assert os.environ["PGCLIENTENCODING"] == "LATIN1"


@pytest.mark.parametrize("column", ["enqueued_at", "available_at", "started_at"])
@pytest.mark.parametrize("moment", ["-infinity", "infinity", "294276-12-31", "4713-01-01 BC"])
def test_no_moment_in_the_history_stops_the_roll_up(db, unlimited, pool_of, column, moment):
    from callboard.ops.upkeep import throughput

    values = {"enqueued_at": "now", "available_at": "now", "started_at": "now", column: moment}
    db(
        "INSERT INTO callboard.message_history (message_id, outcome, queue_name, actor_name, message, priority, "
        "attempt, retries, lost_workers, generation, enqueued_at, available_at, started_at, ended_at) "
        "VALUES (gen_random_uuid(), 'done', repeat('q', 5000), 'job', '{}', 0, 1, 0, 0, 0, %s, %s, %s, "
        "now() - interval '5 minutes')",
        *values.values(),
    )
    throughput.roll_up(pool_of, time_s=10)
    assert db("SELECT done FROM callboard.throughput") == [(1,)]


@pytest.fixture
def pool_of(url):
    from callboard.db import Pool

    pool = Pool(url)
    yield pool
    pool.close()


def test_a_claim_tells_of_a_message_only_what_a_row_may_hold(db, unlimited):
    workers = Workers(db)
    worker_id = workers.register()
    insert(db, message={"actor_name": "job", "args": ["x" * 1_100_000], "kwargs": {}, "options": {}})
    [claimed] = workers.claimed(worker_id)
    assert claimed[2] is None


def insert_row(db, message: str) -> None:
    row = "INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (gen_random_uuid(), 'jobs.DQ', %s)"
    db(row, message)


@pytest.mark.parametrize("eta", ['"soon"', "1e400", "-5", "[1]", "null", "1e30"])
def test_a_stock_producer_with_an_odd_eta_is_taken(db, eta):
    message = '{"actor_name": "job", "args": [], "kwargs": {}, "options": {"eta": ' + eta + "}}"
    db(
        "INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (gen_random_uuid(), 'jobs.DQ', %s)",
        message,
    )
    assert db("SELECT queue_name FROM dramatiq.queue WHERE available_at < '9000-01-01'") == [("jobs",)]


@pytest.mark.parametrize("message", ["null", "1", "[]", '"x"'])
def test_a_delayed_row_that_holds_no_message_is_taken(db, message):
    db(
        "INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (gen_random_uuid(), 'jobs.DQ', %s)",
        message,
    )
    assert db("SELECT queue_name FROM dramatiq.queue") == [("jobs",)]


@pytest.mark.parametrize(
    ("columns", "limit"),
    [
        ({"queue_name": ""}, "queue_name_has_1_to_255_bytes"),
        ({"queue_name": "q" * 1_000_000}, "queue_name_has_1_to_255_bytes"),
        ({"dedupe_key": "k" * 1_000_000}, "dedupe_key_has_1_to_255_characters"),
        ({"available_at": "-infinity"}, "moments_lie_between_1900_and_9000"),
        ({"attempt": -1}, "counters_lie_between_0_and_a_billion"),
        ({"message": {"actor_name": "a" * 256}}, "actor_name_has_at_most_255_bytes"),
        ({"message": {"args": ["x" * 1_048_576]}}, "a row may have 1048576"),
    ],
)
def test_a_sender_that_meets_a_limit_reads_what_it_says(db, columns, limit):
    with pytest.raises((psycopg2.IntegrityError, psycopg2.OperationalError), match=limit):
        insert(db, **columns)
