"""What a claim brings when transactions overtake each other."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import psycopg2
import pytest

from callboard.broker import BrokerOptions, PostgresBroker
from callboard.broker.claiming.claimer import (
    FULL_LOOK_INTERVAL_MAX_S,
    FULL_LOOK_INTERVAL_S,
    LATE_COMMIT_S,
    SESSION_SETTINGS,
    Claimer,
)
from callboard.db import connect
from tests.conftest import wait_until
from tests.postgres.broker.conftest import running_worker
from tests.postgres.broker.fake_workers import Workers
from tests.postgres.broker.test_verdicts import actor

_PUT = (
    "INSERT INTO dramatiq.queue (message_id, queue_name, message, priority, available_at) "
    "VALUES (gen_random_uuid(), 'jobs', '{\"actor_name\": \"job\"}', %s, now() - %s * interval '1 second')"
)


@pytest.fixture
def claim(url, db):
    """Claim as a worker does between two full looks, after a first one that is full."""
    claimer = Claimer(Workers(db).register(), ["jobs"], is_prepared=True)
    connection = connect(url, autocommit=True, settings=SESSION_SETTINGS)

    def claim(limit: int = 10, *, is_full: bool = False) -> list[int]:
        claimer._full_look_clock = float("-inf") if is_full else time.monotonic() + FULL_LOOK_INTERVAL_S
        return [found.priority for found in claimer.claim(connection, limit).claims]

    yield claim
    connection.close()


def test_a_message_that_a_younger_one_overtook_is_found_by_the_next_claim(url, db, claim):
    # Given two senders at once, of which the younger commits first
    with psycopg2.connect(url) as slow, slow.cursor() as cursor:
        cursor.execute(_PUT, (1, LATE_COMMIT_S / 2))
        db(_PUT, 1, 0)
        assert claim(is_full=True) == [1]
    slow.close()
    # Then the other one is found without a full look, which would come up to a second later
    assert claim() == [1]


def test_what_lies_far_behind_the_last_claim_is_left_to_the_full_look(db, claim):
    db(_PUT, 1, 0)
    assert claim(is_full=True) == [1]
    db(_PUT, 1, 60)
    assert claim() == []
    assert claim(is_full=True) == [1]


def test_every_priority_is_found_between_and_beside_those_that_are_known(db, claim):
    # Given claims that know of two priorities
    for priority in (0, 10):
        db(_PUT, priority, 0)
    assert claim(is_full=True) == [0, 10]
    # When messages of others come, the most extreme ones too
    for priority in (2**31 - 1, 11, 10, 5, 0, -1, -(2**31)):
        db(_PUT, priority, 0)
    # Then a claim that is no full look finds all, in their order
    assert claim() == [-(2**31), -1, 0, 5, 10, 11, 2**31 - 1]


def test_a_level_that_ran_empty_is_found_again(db, claim):
    # Given a claim that found the urgent level empty and took from the one behind it
    for priority in (0, 1):
        db(_PUT, priority, 0)
    assert claim(is_full=True) == [0, 1]
    db(_PUT, 1, 0)
    assert claim(is_full=True) == [1]
    # When something urgent comes, whose sender took a moment
    db(_PUT, 0, 1)
    # Then the next claim has it
    assert claim() == [0]


def test_an_idle_worker_does_not_look_at_what_is_gone_again_and_again(db, claim):
    # Given a full look that found nothing of a level that is known
    db(_PUT, 1, 0)
    assert claim(is_full=True) == [1]
    assert claim(is_full=True) == []
    # Then the looks after it pass over what is old, and find what is new
    db(_PUT, 1, 60)
    assert claim() == []
    db(_PUT, 1, 1)
    assert claim() == [1]


def test_what_waited_in_a_paused_queue_is_found_by_the_first_look_after_the_pause(db, claim):
    # Given a queue that was paused when claims looked
    db(_PUT, 1, 0)
    assert claim(is_full=True) == [1]
    db("INSERT INTO callboard.queue_controls (queue_name, is_paused) VALUES ('jobs', true)")
    assert claim(is_full=True) == []
    db(_PUT, 1, 60)
    assert claim() == []
    # When the pause ends
    db("DELETE FROM callboard.queue_controls")
    # Then no full look is needed
    assert claim() == [1]


def bring_back(db, message):
    """Put a message to an old place and ring for it, as the rescue of a dead worker's messages does."""
    row = "INSERT INTO dramatiq.queue (message_id, queue_name, message, available_at) VALUES (%s, 'jobs', %s, %s)"
    db(row, message.message_id, message.encode().decode(), datetime(2026, 1, 1, tzinfo=UTC))
    db("SELECT pg_notify('callboard', 'all')")


def test_a_ring_for_what_came_back_is_answered_by_a_full_look(url, db, monkeypatch):
    # Given an idle worker that has passed over what is old, and makes no full look by itself
    monkeypatch.setattr("callboard.broker.claiming.claimer.FULL_LOOK_INTERVAL_S", 3600)
    broker = PostgresBroker(url=url, middleware=[], options=BrokerOptions(poll_interval_s=3600))
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    with running_worker(broker, 1):
        job.send("young")
        wait_until(lambda: ran == ["young"])
        # When a message comes back to its old place
        bring_back(db, job.message("old"))
        # Then it starts
        wait_until(lambda: ran == ["young", "old"])
    broker.close()


def test_a_consumer_without_a_worker_answers_such_a_ring_too(broker, db, monkeypatch):
    monkeypatch.setattr("callboard.broker.claiming.claimer.FULL_LOOK_INTERVAL_S", 3600)
    job = actor(broker, lambda _: None, actor_name="job")
    consumer = broker.consume("jobs", timeout=5_000)
    job.send("young")
    young = next(consumer)
    consumer.ack(young)
    bring_back(db, job.message("old"))
    old = next(consumer)
    consumer.close()
    assert (young.args, old and old.args) == (("young",), ("old",))


def test_a_full_look_that_takes_long_is_made_less_often(url, db):
    # Given a claimer whose looks take no time but for the full ones
    claimer = Claimer(Workers(db).register(), ["jobs"], is_prepared=True)
    connection = connect(url, autocommit=True, settings=SESSION_SETTINGS)
    claimer._bounded_look_s = -1.0
    # When a full look takes a second longer than they do
    assert claimer.claim(connection, 10).was_full_look
    # Then the next one waits, twice as long each time, so that they take little of the time
    waits = [claimer._full_look_wait_s]
    for _ in range(4):
        claimer._bounded_look_s, claimer._full_look_clock = -1.0, float("-inf")
        assert claimer.claim(connection, 10).was_full_look
        waits.append(claimer._full_look_wait_s)
    assert waits == [2, 4, 8, FULL_LOOK_INTERVAL_MAX_S, FULL_LOOK_INTERVAL_MAX_S]
    # And comes as often as before once one is quick, also where every look is slow
    claimer._bounded_look_s, claimer._full_look_clock = 1.0, float("-inf")
    assert claimer.claim(connection, 10).was_full_look
    assert claimer._full_look_wait_s == FULL_LOOK_INTERVAL_S
    connection.close()
