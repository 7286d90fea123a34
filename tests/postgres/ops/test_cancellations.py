"""Cancelling as an operator asks for it: what becomes of which message, also while others work on it."""

from __future__ import annotations

import threading
import uuid

import dramatiq
import psycopg2
import pytest

from callboard.broker import PostgresBroker
from callboard.broker.liveness.heartbeat import unregister_parameters
from callboard.db import sql
from callboard.errors import InvalidRequest
from callboard.ops.audit import Operator, list_changes
from callboard.ops.messages.cancellation import Cancelled, cancel
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import Workers, opened

ANN = Operator("ann@host", "cli", reason="wrong customer")


@pytest.fixture
def db(each_database_url):
    with opened(each_database_url) as query:
        yield query


@pytest.fixture
def workers(db):
    return Workers(db)


@pytest.fixture
def broker(each_database_url):
    broker = PostgresBroker(url=each_database_url, middleware=[])
    yield broker
    broker.close()


def put(broker, delay=None, **options) -> str:
    message = dramatiq.Message(queue_name="jobs", actor_name="job", args=(), kwargs={}, options=options)
    return broker.enqueue(message, delay=delay).message_id


def cancelled(broker, *message_ids):
    with broker.pool.cursor() as cursor:
        return cancel(cursor, message_ids, ANN)


def discarded(db):
    return db("SELECT message_id::text, outcome, attempt FROM callboard.message_history")


def test_a_queued_message_never_runs_and_its_key_is_free(broker, db, workers):
    # Given a message that is due, and one that is delayed
    now, later = put(broker, dedupe_key="k"), put(broker, delay=60_000)
    # When they are cancelled
    assert cancelled(broker, later, now) == Cancelled([later, now], [], [], [])
    # Then they stand in the history, and nothing is left to claim
    assert sorted(discarded(db)) == sorted([(now, "discarded", 0), (later, "discarded", 0)])
    assert workers.claimed(workers.register()) == []
    assert put(broker, dedupe_key="k") != now
    # And who did it is on record
    with broker.pool.cursor() as cursor:
        (change,) = list_changes(cursor, limit=10)
    assert (change.operator, change.action, change.count, change.reason) == (
        "ann@host",
        "messages cancel",
        2,
        "wrong customer",
    )
    assert change.filter == {"ids": [later, now]}


def test_a_running_message_is_asked_and_shown_as_asked_until_it_has_stopped(broker, db, workers):
    message_id, worker_id = put(broker), workers.register()
    workers.claim(worker_id)
    for _ in range(2):
        assert cancelled(broker, message_id) == Cancelled([], [message_id], [], [])
    assert db("SELECT message_id::text, worker_id::text, requested_by, reason FROM callboard.cancellations") == [
        (message_id, worker_id, "ann@host", "wrong customer")
    ]
    assert db("SELECT state FROM dramatiq.queue") == [("running",)]


def test_each_id_stands_in_one_list_in_the_order_it_was_given(broker, db, workers):
    running = put(broker)
    workers.claim(workers.register())
    waiting, ended, unknown = put(broker), put(broker), str(uuid.uuid4())
    cancelled(broker, ended)
    assert cancelled(broker, unknown, running, ended.upper(), waiting, waiting) == Cancelled(
        [waiting], [running], [ended], [unknown]
    )


def test_nothing_to_cancel_is_no_change(broker):
    assert cancelled(broker, str(uuid.uuid4())).unknown
    assert cancelled(broker) == Cancelled([], [], [], [])
    with broker.pool.cursor() as cursor:
        assert list_changes(cursor, limit=10) == []


@pytest.mark.parametrize("text", ["", "6f2", "'; DROP TABLE dramatiq.queue; --", "\0"])
def test_what_is_no_id_is_refused_by_name(broker, db, text):
    message_id = put(broker)
    with pytest.raises(InvalidRequest, match="is no message id"):
        cancelled(broker, message_id, text)
    assert db("SELECT state FROM dramatiq.queue") == [("queued",)]


CLAIM = {"queue_names": ["jobs"], "limit": 1, "per_queue": 1}
CLAIM |= {"bound_queues": [], "bound_priorities": [], "bound_moments": []}


def during(url, statement, parameters, act, db):
    """Call act() while a transaction with this statement is open, and commit that when act() waits for it."""
    told = []
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        thread = threading.Thread(target=lambda: told.append(act()))
        thread.start()
        wait_until(lambda: told or db("SELECT 1 FROM pg_locks WHERE NOT granted"), what="an answer or a wait")
    connection.close()
    thread.join(10)
    return told[0]


def test_a_claim_that_was_first_has_the_message_and_is_asked(broker, each_database_url, db, workers):
    # Given a claim that is not committed yet
    message_id, claim = put(broker), {**CLAIM, "worker_id": workers.register()}
    # When the message is cancelled
    told = during(each_database_url, sql("claiming/claim"), claim, lambda: cancelled(broker, message_id), db)
    # Then it runs, and is asked
    assert told == Cancelled([], [message_id], [], [])
    assert discarded(db) == []


def test_a_claim_that_comes_second_gets_nothing(broker, each_database_url, db, workers):
    message_id, worker_id = put(broker), workers.register()
    with psycopg2.connect(each_database_url) as connection, connection.cursor() as cursor:
        assert cancel(cursor, [message_id], ANN).discarded == [message_id]
        assert workers.claimed(worker_id) == []
    connection.close()
    assert discarded(db) == [(message_id, "discarded", 0)]


@pytest.mark.parametrize("requeue", ["liveness/unregister", "claiming/reclaim"])
def test_a_message_that_goes_back_into_its_queue_at_that_moment_is_discarded(
    broker, each_database_url, db, workers, requeue
):
    # Given a transaction that puts a running message back, and is not committed yet
    message_id, worker_id = put(broker), workers.register()
    workers.claim(worker_id)
    db("UPDATE dramatiq.queue SET claimed_at = claimed_at - interval '1 minute'")
    parameters = {**unregister_parameters(worker_id), "lease_ids": []}
    # When the message is cancelled
    told = during(each_database_url, sql(requeue), parameters, lambda: cancelled(broker, message_id), db)
    # Then it does not run again
    assert told == Cancelled([message_id], [], [], [])
    assert discarded(db) == [(message_id, "discarded", 0)]


@pytest.mark.parametrize("requeue", ["liveness/unregister", "claiming/reclaim", "liveness/rescue"])
def test_a_message_that_was_just_cancelled_does_not_go_back_into_its_queue(
    broker, each_database_url, db, workers, requeue
):
    # Given a cancellation that is not committed yet, of a message whose worker goes
    message_id, worker_id = put(broker), workers.register()
    workers.claim(worker_id)
    db("UPDATE dramatiq.queue SET claimed_at = claimed_at - interval '1 minute'")
    db("UPDATE callboard.workers SET suspected_at = now() - interval '1 minute'")
    parameters = {**unregister_parameters(worker_id), "lease_ids": [], "beat_overdue_s": 20, "max_lost_workers": 3}
    connection = psycopg2.connect(each_database_url)
    with connection, connection.cursor() as cursor:
        assert cancel(cursor, [message_id], ANN).asked == [message_id]
        # When the worker's messages are put back at that moment
        thread = threading.Thread(target=lambda: db(sql(requeue), **parameters))
        thread.start()
        thread.join(0.3)
    connection.close()
    thread.join(10)
    if requeue == "liveness/rescue":
        # It passes locked rows over, and comes back to them.
        db(sql(requeue), **parameters)
    # Then that one is discarded, and nothing is left of the request
    assert [row[:2] for row in discarded(db)] == [(message_id, "discarded")]
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]
    db(
        sql("liveness/beat"),
        worker_id=worker_id,
        rss_bytes=None,
        leads=True,
        channel=None,
        holds_lock=True,
        session_pid=0,
        duty_overdue_s=10,
    )
    assert db("SELECT count(*) FROM callboard.cancellations") == [(0,)]
