"""Time limits in a worker: what is interrupted, what is only reported, and who is never touched."""

from __future__ import annotations

import threading
import time

import pytest

from callboard.errors import ConfigurationError
from middleware.time_limits import TimeLimits
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.broker.test_verdicts import actor, dead, ended

LOOK_MS = 20


def endless():
    until = time.monotonic() + 20
    while time.monotonic() < until:
        time.sleep(0.005)


@pytest.fixture
def broker(url):
    broker = make_broker(url, TimeLimits(interval=LOOK_MS, margin=200))
    yield broker
    broker.close()


def test_an_actor_is_interrupted_at_its_time_limit_and_its_thread_goes_on(broker, db):
    slow = actor(broker, endless, time_limit=100, max_retries=0)
    quick = actor(broker, lambda: None, actor_name="quick")
    with running_worker(broker, threads=1):
        slow.send()
        quick.send()
        wait_until(lambda: ended(db), what="the next one")
    assert dead(db) == [("max_retries", "TimeLimitExceeded")]


def test_without_a_margin_a_message_that_can_be_interrupted_costs_no_process(broker, db, monkeypatch):
    given_up = []
    monkeypatch.setattr(broker.middleware[0], "_give_up", lambda *args: given_up.append(args))
    slow = actor(broker, endless, time_limit=100, time_limit_margin=0, max_retries=0)
    with running_worker(broker, threads=1):
        slow.send()
        wait_until(lambda: dead(db), what="its end")
    assert (dead(db), given_up) == ([("max_retries", "TimeLimitExceeded")], [])


def test_a_messages_own_limit_comes_before_its_actors(broker, db):
    slow = actor(broker, endless, time_limit=60_000, max_retries=0)
    with running_worker(broker):
        slow.send_with_options(time_limit=100)
        wait_until(lambda: dead(db))
    assert dead(db) == [("max_retries", "TimeLimitExceeded")]


def test_many_short_messages_in_one_thread_are_never_taken_for_a_long_one(broker, db):
    short = actor(broker, lambda: time.sleep(0.02), actor_name="short", time_limit=300, max_retries=0)
    with running_worker(broker, threads=1):
        broker.send_many([short.message() for _ in range(50)])
        wait_until(lambda: len(ended(db)) == 50, 20)
    assert dead(db) == []


def test_a_program_that_runs_a_worker_of_its_own_is_told_once_and_lives(broker, db):
    # Given a message that blocks where nothing can be raised
    may_end, began = threading.Event(), threading.Event()

    def blocks():
        began.set()
        may_end.wait(20)

    blocked = actor(broker, blocks, time_limit=100, max_retries=0)
    with running_worker(broker, threads=1):
        blocked.send()
        assert began.wait(10)
        # When it is far beyond its limit
        wait_until(lambda: broker.middleware[0]._given_up, what="the report")
        # Then its lease is still held, and it ends as it ends
        assert db("SELECT state FROM dramatiq.queue") == [("running",)]
        assert broker.worker.leases.stuck() == []
        may_end.set()
        wait_until(lambda: dead(db))
    assert dead(db) == [("max_retries", "TimeLimitExceeded")]


def test_a_margin_that_cannot_be_meant_is_refused(broker):
    with pytest.raises(ConfigurationError, match=r"Actor 'job' has time_limit_margin '30s'"):
        actor(broker, lambda: None, actor_name="job", time_limit_margin="30s")
    with pytest.raises(ConfigurationError, match=r"TimeLimits has time_limit_margin -1"):
        TimeLimits(margin=-1)
