"""Limits of retrying as a message meets them on a real database: by count, by time, and what does not count."""

from __future__ import annotations

import time

import pytest

from callboard.errors import ConfigurationError, InvalidMessage, Postponed
from callboard.ops.audit import operator_of_shell
from callboard.ops.dead_letters.changes import retry_dead
from callboard.ops.dead_letters.filter import DeadFilter
from middleware.retry_limits import RETRYING_SINCE
from tests.conftest import wait_until
from tests.postgres.broker.test_verdicts import actor, dead, ended

#: Long after every wait of the tests' broker, 10 ms, and short enough to wait for.
SPAN_MS = 400


def since(db):
    return db(f"SELECT (message #>> '{{options,{RETRYING_SINCE}}}')::bigint FROM dramatiq.queue")[0][0]


def test_retrying_ends_by_time_although_retries_are_left(broker, db, work):
    # Given an actor that may be retried for ever, but not for long
    def job():
        raise KeyError("boom")

    sent = actor(broker, job, max_retries=None, retry_for=SPAN_MS).send()
    # When it fails for as long as it may
    with work():
        wait_until(lambda: dead(db))
    # Then it is a dead letter with its last error, after retries within that time
    assert dead(db) == [("max_retries", "KeyError")]
    [[retries, retried_ms]] = db(
        "SELECT count(*), extract(epoch FROM max(started_at) - min(ended_at)) * 1000 FROM callboard.attempts"
    )
    assert retries > 2
    assert retried_ms <= SPAN_MS + 1_000  # The last one may start late on a busy machine.
    # And an operator's retry starts the time anew
    retried = retry_dead(broker.pool.cursor, DeadFilter(ids=(sent.message_id,)), operator_of_shell())
    assert retried.message_ids == (sent.message_id,)
    assert since(db) is None
    with work():
        wait_until(lambda: dead(db))
    assert db("SELECT count(*) > 2 FROM callboard.attempts WHERE generation = 1") == [(True,)]


def test_time_in_the_queue_is_not_time_for_retries(broker, db, work):
    # Given a message that waits for a worker for longer than it may be retried
    runs = []

    def job():
        runs.append(1)
        if len(runs) == 1:
            raise KeyError("boom")

    actor(broker, job, retry_for=SPAN_MS).send()
    time.sleep(SPAN_MS / 1000 + 0.1)
    # When it fails once, it is retried all the same
    with work():
        wait_until(lambda: ended(db))
    assert ended(db) == [("done",)]


def test_a_postponement_moves_the_deadline_along(broker, db, work):
    # Given a message that has failed
    runs = []

    def job():
        runs.append(time.time())
        if len(runs) == 1:
            raise KeyError("boom")
        raise Postponed("provider is down", wait_s=3600)

    actor(broker, job, retry_for=SPAN_MS).send()
    # When it is postponed for longer than it may be retried
    with work():
        wait_until(lambda: db("SELECT 1 FROM dramatiq.queue WHERE wait_reason = 'provider is down'"))
    # Then it has as much time for retries after that as it had before
    assert since(db) / 1000 - 3600 == pytest.approx(runs[0], abs=0.3)


def test_a_messages_own_time_comes_before_its_actors(broker, db, work):
    def job():
        raise KeyError("boom")

    actor(broker, job, retry_for=3_600_000).send_with_options(retry_for=0)
    with work():
        wait_until(lambda: dead(db))
    assert db("SELECT attempt FROM callboard.dead_letters") == [(1,)]


@pytest.mark.parametrize("option", ["retry_for"])
@pytest.mark.parametrize("value", [-1, "1h"])
def test_a_wrong_span_is_refused_where_it_is_written(broker, db, option, value):
    # On an actor
    with pytest.raises(ConfigurationError, match=f"Actor 'job' has {option} {value!r}"):
        actor(broker, lambda: None, actor_name="job", **{option: value})
    # On a message, in every way of sending
    job = actor(broker, lambda: None, actor_name="job")
    message = job.message_with_options(**{option: value})
    for send in (broker.enqueue, lambda message: broker.send_many([message])):
        with pytest.raises(InvalidMessage, match=f"has {option} {value!r}"):
            send(message)
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]
