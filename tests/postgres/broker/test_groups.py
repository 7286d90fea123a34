"""Groups with callbacks: the barrier counts in the verdict's transaction, so once, whatever happens."""

from __future__ import annotations

import threading

import dramatiq
import pytest

from callboard.broker import PostgresRateLimits, completion
from callboard.db import schema
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker

#: What the rescue does to the row of a message that lost its worker.
TAKE_AWAY = "UPDATE dramatiq.queue SET state = 'queued', lease_id = NULL, worker_id = NULL WHERE message_id = %s"


@pytest.fixture
def group_broker(url):
    broker = make_broker(url)
    broker.add_middleware(dramatiq.middleware.GroupCallbacks(PostgresRateLimits()))
    yield broker
    broker.close()


def run_group(broker, job, count, told="told"):
    group = dramatiq.group([job.message(number) for number in range(count)], broker=broker)
    group.add_completion_callback(broker.get_actor(told).message("all done"))
    group.run()


def declare(broker, fn, name):
    return dramatiq.actor(fn, actor_name=name, broker=broker, queue_name="jobs")


def callbacks(db):
    """Return how many callbacks there are or were, in whatever state."""
    return db(
        "SELECT (SELECT count(*) FROM dramatiq.queue WHERE actor_name = 'told') "
        "+ (SELECT count(*) FROM callboard.message_history WHERE actor_name = 'told')"
    )[0][0]


def end_of(kind):
    if kind == "completion":
        with completion():
            pass


@pytest.mark.parametrize("kind", ["returns", "completion"])
def test_a_groups_callback_is_sent_once_with_the_last_of_its_messages(group_broker, db, kind):
    sent = []

    class Listener(dramatiq.Middleware):
        def after_enqueue(self, broker, message, delay):
            sent.append(message.actor_name)

    group_broker.add_middleware(Listener())
    told: list[str] = []
    declare(group_broker, told.append, "told")
    job = declare(group_broker, lambda _: end_of(kind), "job")
    run_group(group_broker, job, 20)
    with running_worker(group_broker, threads=4):
        wait_until(lambda: told)
        wait_until(lambda: not db("SELECT 1 FROM dramatiq.queue"))
    assert told == ["all done"] and callbacks(db) == 1
    # Middleware hears of the one that was sent, not of those that waited for it.
    assert sent.count("told") == 1


@pytest.mark.parametrize("kind", ["returns", "completion"])
def test_a_redelivery_counts_once_at_its_groups_barrier(group_broker, db, kind):
    # Given a group of two, of which the first runs twice: its lease is lost after it returned
    told, runs = [], []
    declare(group_broker, told.append, "told")

    class LosesLease(dramatiq.Middleware):
        def after_process_message(self, broker, message, *, result=None, exception=None):
            if message.args == (0,) and runs.count(0) < 3:
                db(TAKE_AWAY, message.message_id)

    def run(number):
        runs.append(number)
        if number == 1:
            may_end.wait(10)
        if kind == "completion":
            with completion():
                if number == 0 and runs.count(0) < 3:
                    LosesLease().after_process_message(None, dramatiq.middleware.CurrentMessage.get_current_message())

    may_end = threading.Event()
    group_broker.add_middleware(dramatiq.middleware.CurrentMessage())
    if kind == "returns":
        group_broker.add_middleware(LosesLease())
    job = declare(group_broker, run, "job")
    run_group(group_broker, job, 2)
    with running_worker(group_broker, threads=2):
        # When it has run three times and ended once
        wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(1,)])
        # Then the barrier waits for the other one
        assert runs.count(0) == 3
        assert db("SELECT value FROM callboard.rate_limits") == [(1,)] and callbacks(db) == 0
        may_end.set()
        wait_until(lambda: told)
        wait_until(lambda: not db("SELECT 1 FROM dramatiq.queue"))
    assert told == ["all done"] and callbacks(db) == 1


def test_a_member_that_fails_for_good_does_not_count(group_broker, db):
    declare(group_broker, lambda _: None, "told")

    def run(number):
        if number == 0:
            raise KeyError("boom")

    run_group(group_broker, declare(group_broker, run, "job"), 3)
    with running_worker(group_broker):
        wait_until(lambda: db("SELECT 1 FROM callboard.dead_letters"))
        wait_until(lambda: not db("SELECT 1 FROM dramatiq.queue"))
    assert callbacks(db) == 0 and db("SELECT value FROM callboard.rate_limits") == [(1,)]


def test_a_member_whose_next_stage_cannot_be_stored_does_not_count(group_broker, db):
    # Given a member whose result is too large to hand on
    declare(group_broker, lambda _: None, "told")
    following = declare(group_broker, lambda _: None, "following").message()
    member = declare(group_broker, lambda _: "x" * 1_000_000, "job").message(0)
    member.options["pipe_target"] = following.asdict()
    group = dramatiq.group([member], broker=group_broker)
    group.add_completion_callback(group_broker.get_actor("told").message("all done"))
    group.run()
    with running_worker(group_broker):
        wait_until(lambda: db("SELECT reason FROM callboard.dead_letters") == [("invalid",)])
    assert callbacks(db) == 0 and db("SELECT value FROM callboard.rate_limits") == [(1,)]


def test_a_barrier_that_is_gone_calls_nobody(group_broker, db):
    declare(group_broker, lambda _: None, "told")
    run_group(group_broker, declare(group_broker, lambda _: None, "job"), 2)
    db("DELETE FROM callboard.rate_limits")
    with running_worker(group_broker):
        wait_until(lambda: not db("SELECT 1 FROM dramatiq.queue"))
    assert callbacks(db) == 0


def test_a_group_on_a_backend_elsewhere_counts_at_once(url, db, embedded_server):
    # Given a broker whose counters live in another database
    counters_url = embedded_server.recreate_database("counters")
    schema.upgrade(counters_url)
    elsewhere = PostgresRateLimits(url=counters_url)
    broker = make_broker(url)
    broker.add_middleware(dramatiq.middleware.GroupCallbacks(elsewhere))
    told: list[str] = []
    declare(broker, told.append, "told")
    run_group(broker, declare(broker, lambda _: None, "job"), 4)
    with running_worker(broker):
        wait_until(lambda: told)
    assert db("SELECT count(*) FROM callboard.rate_limits") == [(0,)]
    broker.close()
    elsewhere.attachment.pool.close()
