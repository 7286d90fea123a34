"""Sending and working through a pooler in transaction mode, on a database whose defaults are not ours."""

from __future__ import annotations

import contextlib
import time

import dramatiq
import psycopg2
import pytest

import callboard
from callboard.broker.sending.copying import INSERT_BELOW
from tests.conftest import wait_until
from tests.poolers import pooled
from tests.postgres.broker.conftest import running_worker

#: How long an idle worker is watched, s.
MEASURE_S = 8.0


def numbers(db) -> list[int]:
    return sorted(row[0] for row in db("SELECT number FROM effects"))


def test_every_way_of_sending_works_and_every_effect_is_written_once(pooler, db, make_pooled_broker):
    # Given a worker behind the pooler whose actor writes its effect with completion()
    db("CREATE TABLE effects (number int)")
    broker = make_pooled_broker(pooler.url)

    def count(number):
        with callboard.completion() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO effects VALUES (%s)", (number,))

    actor = dramatiq.actor(count, queue_name="jobs", broker=broker)
    with running_worker(broker):
        # When messages are sent in each way there is
        actor.send(1)
        actor.send_with_options(args=(2,), dedupe_key="two")
        actor.send_with_options(args=(3,), delay=100)
        callboard.send_many([actor.message(4), actor.message(5)])
        callboard.send_many(actor.message(number) for number in range(6, 6 + 2 * INSERT_BELOW))
        with contextlib.closing(psycopg2.connect(pooler.url)) as theirs, theirs:
            callboard.send_in(theirs, actor.message(6 + 2 * INSERT_BELOW))
        # Then all of them run
        total = 6 + 2 * INSERT_BELOW
        wait_until(lambda: len(numbers(db)) >= total, 30, "all effects")
    assert numbers(db) == list(range(1, total + 1))
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]


@pytest.mark.parametrize("listens", [False, True])
def test_a_failure_is_retried_and_kept(pooler, db, make_pooled_broker, listens):
    # Also where QUEUE_LISTEN was left on: a pooler takes a LISTEN, and what is prepared, and loses both
    broker = make_pooled_broker(pooler.url, listens=listens)

    def fail():
        raise KeyError

    actor = dramatiq.actor(fail, queue_name="jobs", broker=broker)
    with running_worker(broker):
        actor.send()
        wait_until(lambda: db("SELECT count(*) FROM callboard.dead_letters") == [(1,)], 30, "the dead letter")
    assert db("SELECT count(*) FROM callboard.attempts") == [(3,)]


def left(pooler) -> set[tuple[int, int]]:
    """Return what is prepared and listened for in each session of the pooler: an open transaction keeps its own."""
    with contextlib.ExitStack() as stack:
        cursors = [
            stack.enter_context(contextlib.closing(psycopg2.connect(pooler.url))).cursor()
            for _ in pooler.ask("SHOW SERVERS")
        ]
        for cursor in cursors:
            cursor.execute(
                "SELECT (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels())"
            )
        return {cursor.fetchone() for cursor in cursors}


@pytest.mark.parametrize("listens", [False, True])
def test_nothing_is_left_in_sessions_that_others_get(pooler, db, make_pooled_broker, listens):
    # Also where QUEUE_LISTEN was left on, but for what it asks for
    broker = make_pooled_broker(pooler.url, listens=listens)
    actor = dramatiq.actor(lambda: None, actor_name="job", queue_name="jobs", broker=broker)
    with running_worker(broker):
        actor.send()
        wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(1,)], 20, "the end")
    broker.close()
    found = left(pooler)
    assert {prepared for prepared, _ in found} == {0}
    assert listens or {listening for _, listening in found} == {0}
    assert db("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


def test_a_pooler_that_starts_anew_is_waited_for(database_url, db, make_pooled_broker, caplog):
    with pooled(database_url) as pooler:
        broker = make_pooled_broker(pooler.url)
        actor = dramatiq.actor(lambda: None, actor_name="job", queue_name="jobs", broker=broker)
        with running_worker(broker):
            actor.send()
            wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(1,)], 20, "the first")
            # When it goes away and comes back
            pooler.stop()
            wait_until(lambda: "intake connection was lost" in caplog.text, 20, "the warning")
            pooler.start()
            actor.send()
            wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(2,)], 30, "the second")
    # Then each loop has said it once
    assert [record.message for record in caplog.records].count("intake connection was lost; claiming pauses") == 1


def test_an_idle_worker_asks_no_more_than_straight_in_the_database(
    database_url, db, make_pooled_broker, embedded_server
):
    # Given the counts that another database sees, so that looking adds none
    [(name,)] = db("SELECT current_database()")
    watcher = psycopg2.connect(embedded_server.url())
    watcher.autocommit = True

    def transactions() -> int:
        with watcher.cursor() as cursor:
            cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = %s", (name,))
            return int(cursor.fetchone()[0])

    def rate(url: str) -> float:
        broker = make_pooled_broker(url)
        dramatiq.actor(lambda: None, actor_name="job", queue_name="jobs", broker=broker)
        with running_worker(broker):
            wait_until(lambda: broker.worker is not None and broker.worker.heartbeat.leads, 20, "the lead")
            # A leader looks for the dead only after a while, and sessions report what they did once a second.
            time.sleep(4)
            before, clock = transactions(), time.monotonic()
            time.sleep(MEASURE_S)
            return (transactions() - before) / (time.monotonic() - clock)

    with pooled(database_url) as pooler:
        assert rate(pooler.url) <= 1.5 * rate(database_url)
    watcher.close()
