"""Minutes of throughput: what is counted where, again and again, and late."""

from __future__ import annotations

import contextlib
import threading
import uuid
from datetime import timedelta

import pytest

from callboard.db import Pool, connect, sql
from callboard.ops.upkeep import throughput
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import opened
from tests.postgres.ops.rows import Rows

COLUMNS = "queue_name, actor_name, enqueued, done, retried, dead, run_s, wait_s"


@pytest.fixture
def db(each_database_url):
    with opened(each_database_url) as query:
        yield query


@pytest.fixture
def rows(db):
    return Rows(db)


@pytest.fixture
def roll_up(each_database_url):
    pool = Pool(each_database_url)
    yield lambda time_s=60, **options: throughput.roll_up(pool, time_s=time_s, **options)
    pool.close()


@pytest.fixture
def minute(db):
    """Return the beginning of the minute so many minutes ago."""
    ((now,),) = db("SELECT date_trunc('minute', now())")
    return lambda ago: now - timedelta(minutes=ago)


def minutes(db, columns=COLUMNS):
    return db(f"SELECT minute_at, {columns} FROM callboard.throughput ORDER BY minute_at, queue_name, actor_name")


def done(rows, at, *, queue="jobs", actor="job", waited_s=2.0, run_s=1.5, outcome="done"):
    moments = {"enqueued_at": at, "available_at": at, "started_at": at + timedelta(seconds=waited_s)}
    ended_at = at + timedelta(seconds=waited_s + run_s)
    return rows.history(0, queue_name=queue, actor_name=actor, outcome=outcome, ended_at=ended_at, **moments)


def test_each_kind_of_event_counts_in_its_own_minute(rows, db, roll_up, minute):
    # Given messages of two actors that came, ended, failed and died
    a, second = minute(5), timedelta(seconds=1)
    done(rows, a)
    done(rows, a + 57 * second)  # Came in one minute, ended in the next.
    done(rows, a, actor="other", outcome="discarded")
    waiting = rows.queued(enqueued_at=a + second, available_at=a + second)
    rows.attempt(0, waiting, ended_at=a + 2 * second)
    rows.attempt(0, waiting, ended_at=a + 61 * second, attempt=2)
    died = rows.dead(
        0, enqueued_at=a, died_at=a + 3 * second, actor_name=None, message='{"actor_name": "job"}', queue_name="more"
    )
    rows.attempt(0, died, ended_at=a + 3 * second, outcome="dead")
    rows.dead(0, enqueued_at=a, died_at=a + 4 * second, actor_name="killer", reason="lost_worker")
    rows.queued(enqueued_at=a, available_at=minute(-600), priority=7)  # Delayed by hours.
    rows.queued(enqueued_at=a, state="running", lease_id=1, worker_id=str(uuid.uuid4()))
    # When they are rolled up
    assert roll_up().is_finished
    # Then each stands where it happened
    assert minutes(db) == [
        (a, "jobs", "job", 5, 1, 1, 0, 1.5, 2.0),
        (a, "jobs", "killer", 1, 0, 0, 1, 0, 0),
        (a, "jobs", "other", 1, 0, 0, 0, 0, 0),
        (a, "more", "", 1, 0, 0, 1, 0, 0),
        (a + 60 * second, "jobs", "job", 0, 1, 1, 0, 1.5, 2.0),
    ]


def test_the_minute_that_is_not_over_is_left_out(rows, db, roll_up, minute):
    wait_until(lambda: db("SELECT extract(second FROM now()) BETWEEN 1 AND 50") == [(True,)], 20)
    ((now,),) = db("SELECT now()")
    rows.history(0, actor_name="job", enqueued_at=now, ended_at=now)
    roll_up()
    assert minutes(db) == []


def test_a_repeat_gives_the_same_rows_also_when_the_messages_have_moved_on(rows, db, roll_up, minute):
    a = minute(2)
    done(rows, a)
    moves = rows.queued(enqueued_at=a, available_at=a)
    rows.attempt(0, moves, ended_at=a)
    roll_up()
    before = minutes(db)
    # When one that waited has ended meanwhile
    db("DELETE FROM dramatiq.queue")
    rows.history(0, moves, actor_name="job", enqueued_at=a, available_at=a)
    roll_up()
    # Then the minutes before say the same
    assert [row for row in minutes(db) if row[0] == a] == before
    assert before[0][3:6] == (2, 1, 1)


def test_minutes_that_were_missed_are_filled_in_later(rows, db, roll_up, minute):
    # Given a roll-up long ago, and messages since, most of them hours ago
    db("INSERT INTO callboard.throughput_progress (rolled_until) VALUES (%s)", minute(20 * 60))
    moments = [minute(ago) for ago in (19 * 60, 13 * 60, 12 * 60 + 1, 61, 2)]
    for moment in moments:
        done(rows, moment)
    # When it runs again
    rolled = roll_up()
    # Then every minute is there
    assert rolled.is_finished and rolled.rows >= 5
    assert [(row[0], row[3], row[4]) for row in minutes(db)] == [(moment, 1, 1) for moment in moments]
    assert db("SELECT rolled_until >= %s FROM callboard.throughput_progress", minute(0)) == [(True,)]


def test_what_its_time_does_not_suffice_for_is_left_for_the_next_run(rows, db, roll_up, minute):
    db("INSERT INTO callboard.throughput_progress (rolled_until) VALUES (%s)", minute(20 * 60))
    done(rows, minute(19 * 60))
    done(rows, minute(2))
    assert not roll_up(time_s=0).is_finished
    assert len(minutes(db)) == 1
    assert roll_up().is_finished
    assert len(minutes(db)) == 2


def test_what_was_missed_for_too_long_is_left_out(rows, db, roll_up, minute):
    db("INSERT INTO callboard.throughput_progress (rolled_until) VALUES (%s)", minute(9 * 24 * 60))
    done(rows, minute(8 * 24 * 60))
    done(rows, minute(6 * 24 * 60))
    assert roll_up().is_finished
    assert [row[0] for row in minutes(db)] == [minute(6 * 24 * 60)]


def test_what_a_transaction_shows_after_its_minute_is_counted_at_the_next_run(
    rows, db, roll_up, minute, each_database_url
):
    done(rows, minute(2))
    with contextlib.closing(connect(each_database_url)) as late, late.cursor() as cursor:
        moments = {"enqueued_at": minute(2), "available_at": minute(2)}
        cursor.execute(
            "INSERT INTO dramatiq.queue (message_id, queue_name, message, enqueued_at, available_at) VALUES "
            "(gen_random_uuid(), 'jobs', '{\"actor_name\": \"job\"}', %(enqueued_at)s, %(available_at)s)",
            moments,
        )
        roll_up()
        assert minutes(db)[0][3] == 1
        late.commit()
    roll_up()
    assert minutes(db)[0][3] == 2


def test_two_at_once_count_nothing_twice(rows, db, roll_up, minute):
    for ago in range(2, 40):
        done(rows, minute(ago))
    threads = [threading.Thread(target=roll_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [row[3:5] for row in minutes(db)] == [(1, 1)] * 38


def test_an_idle_minute_costs_no_rows(db, roll_up):
    assert roll_up() == throughput.RolledUp(0, is_finished=True)
    assert db("SELECT count(*) FROM callboard.throughput_progress") == [(1,)]


def test_a_minute_with_a_large_backlog_reads_what_is_new(rows, db, minute):
    # Given many messages that wait since before the minute, in two queues and priorities
    db(
        "INSERT INTO dramatiq.queue (message_id, queue_name, message, priority, enqueued_at, available_at) "
        "SELECT gen_random_uuid(), 'jobs', '{\"actor_name\": \"job\"}', number %% 2, at, at "
        "FROM (SELECT number, now() - interval '1 hour' AS at FROM generate_series(1, %s) AS number) AS old",
        20_000,
    )
    rows.queued(enqueued_at=minute(2), available_at=minute(2))
    db("VACUUM ANALYZE dramatiq.queue")
    # When the statement is explained
    ((plan,),) = db(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql('throughput/roll_up')}", since=minute(4), until=minute(0))
    # Then the rows it read of the queue are few
    read = [0]

    def walk(node):
        if node.get("Relation Name") == "queue" and "Scan" in node["Node Type"]:
            read[0] += (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for child in node.get("Plans", ()):
            walk(child)

    walk(plan[0]["Plan"])
    assert 0 < read[0] < 100
