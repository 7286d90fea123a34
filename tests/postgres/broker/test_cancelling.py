"""Cancelling a message that runs: what its thread gets, and what becomes of it however it ends."""

from __future__ import annotations

import threading
import time

import dramatiq
import pytest
from dramatiq.middleware import Retries
from dramatiq.results import ResultFailure, Results

from callboard.broker import PostgresBroker, PostgresResults, completion
from callboard.broker.claiming.prefetch import Prefetch
from callboard.broker.worker import leases
from callboard.errors import Cancelled, PermanentError, Postponed
from callboard.ops.audit import Operator
from callboard.ops.messages.cancellation import cancel
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.broker.fake_workers import Workers, opened
from tests.postgres.broker.test_stopping import Outcomes, start
from tests.postgres.broker.test_verdicts import actor, dead, ended

ANN = Operator("ann@host", "cli")


@pytest.fixture
def db(url):
    with opened(url) as query:
        yield query


def cancelled(broker, *messages):
    with broker.pool.cursor() as cursor:
        return cancel(cursor, [message.message_id for message in messages], ANN)


def attempts(db):
    return db("SELECT attempt, outcome, error_class FROM callboard.attempts")


def left(db):
    return db("SELECT (SELECT count(*) FROM dramatiq.queue), (SELECT count(*) FROM callboard.cancellations)")


class Job:
    """An actor that says when it runs and goes on in steps that Python can interrupt."""

    def __init__(self):
        self.began = threading.Event()
        self.heard = []
        self.may_end = threading.Event()

    def __call__(self):
        self.began.set()
        until = time.monotonic() + 20
        while time.monotonic() < until and not self.may_end.is_set():
            time.sleep(0.005)


def test_a_running_message_hears_of_it_and_ends_as_discarded_and_its_thread_goes_on(url, db):
    # Given a worker with one thread, which runs a message
    outcomes, job = Outcomes(), Job()
    broker = make_broker(url, outcomes)
    jobs, other = actor(broker, job, actor_name="job"), actor(broker, lambda: None, actor_name="other")
    with running_worker(broker, threads=1):
        message = jobs.send()
        assert job.began.wait(10)
        # When that is cancelled
        assert cancelled(broker, message).asked == [message.message_id]
        # Then it stops and ends as discarded, and so does its attempt
        wait_until(lambda: ended(db), what="the end")
        assert ended(db) == [("discarded",)]
        assert attempts(db) == [(1, "discarded", "Cancelled")]
        assert left(db) == [(0, 0)]
        assert dead(db) == []
        # And the thread runs the next one
        other.send()
        wait_until(lambda: len(ended(db)) == 2, what="the next one")
    assert outcomes.seen == ["discarded", "done"]
    broker.close()


@pytest.mark.parametrize(
    "error",
    [KeyError("boom"), PermanentError("no"), Postponed("later", wait_s=0), dramatiq.errors.Retry(delay=0)],
    ids=lambda error: type(error).__name__,
)
def test_whatever_it_raises_after_it_was_asked_it_is_discarded(broker, db, work, error):
    job = Job()

    def fails():
        try:
            job()
        except Cancelled:
            raise error from None

    jobs = actor(broker, fails)
    with work():
        message = jobs.send()
        assert job.began.wait(10)
        cancelled(broker, message)
        wait_until(lambda: ended(db))
    assert (ended(db), attempts(db)) == ([("discarded",)], [(1, "discarded", type(error).__name__)])
    assert (left(db), dead(db)) == ([(0, 0)], [])


def test_one_that_returns_all_the_same_is_done(broker, db, work):
    job = Job()

    def cleans_up():
        try:
            job()
        except Cancelled:
            job.heard.append(1)

    jobs = actor(broker, cleans_up)
    with work():
        message = jobs.send()
        assert job.began.wait(10)
        cancelled(broker, message)
        wait_until(lambda: ended(db))
        assert ended(db) == [("done",)]
        # And what was asked of it is forgotten with its end, or by the leader's next look
        wait_until(lambda: left(db) == [(0, 0)], what="the request gone")
    assert job.heard == [1]


def test_dramatiqs_own_retries_do_not_bring_it_back(url, db):
    job = Job()
    broker = PostgresBroker(url=url, middleware=[Retries(min_backoff=1, max_backoff=1)])
    jobs = actor(broker, job, actor_name="job")
    with running_worker(broker):
        message = jobs.send()
        assert job.began.wait(10)
        cancelled(broker, message)
        wait_until(lambda: ended(db))
    assert (ended(db), left(db)) == ([("discarded",)], [(0, 0)])
    broker.close()


def test_a_failure_that_comes_before_the_worker_has_heard_does_not_bring_it_back(url, db):
    # Given a message that fails in the moment after it was cancelled
    outcomes, began = Outcomes(), threading.Event()
    broker = make_broker(url, outcomes)

    def job():
        began.set()
        wait_until(lambda: db("SELECT 1 FROM dramatiq.queue WHERE cancel_asked_at IS NOT NULL"))
        raise KeyError("boom")

    jobs = actor(broker, job)
    # The worker never hears of it.
    with running_worker(broker):
        broker.worker.heartbeat._on_cancelled = lambda _ids: None
        message = jobs.send()
        assert began.wait(10)
        cancelled(broker, message)
        # Then the database knows better than the verdict
        wait_until(lambda: ended(db))
    assert (ended(db), left(db)) == ([("discarded",)], [(0, 0)])
    assert attempts(db) == [(1, "discarded", "KeyError")]
    assert outcomes.seen == ["discarded"]
    broker.close()


def test_one_that_waits_here_for_a_thread_never_starts(broker, db, work, monkeypatch):
    # Given a worker that has claimed more than its one thread can run
    monkeypatch.setattr(Prefetch, "room", lambda self, held: 3 - held)
    monkeypatch.setattr(leases, "WAIT_HERE_S", 60)
    first, ran = Job(), []
    jobs, later = actor(broker, first, actor_name="job"), actor(broker, lambda: ran.append(1), actor_name="later")
    with work(threads=1):
        jobs.send()
        assert first.began.wait(10)
        message = later.send()
        wait_until(lambda: db("SELECT 1 FROM dramatiq.queue WHERE state = 'running' AND actor_name = 'later'"))
        # When one that waits is cancelled
        assert cancelled(broker, message).asked == [message.message_id]
        # Then it has ended before the first one has, as if it had never been claimed
        wait_until(lambda: ended(db))
        assert db("SELECT outcome, attempt, started_at FROM callboard.message_history") == [("discarded", 0, None)]
        first.may_end.set()
        wait_until(lambda: left(db) == [(0, 0)])
    assert ran == []
    assert attempts(db) == []


def test_one_that_never_notices_is_shown_as_asked_and_does_not_come_back_after_a_shutdown(broker, db):
    # Given a message that blocks outside of Python's reach
    began, may_end = threading.Event(), threading.Event()

    def job():
        began.set()
        may_end.wait(20)

    message = actor(broker, job).send()
    worker = start(broker, threads=1)
    assert began.wait(10)
    # When it was asked to stop and does not hear it
    cancelled(broker, message)
    wait_until(lambda: [d for d in broker.worker.leases.held() if d.is_cancelled], what="asked")
    assert left(db) == [(1, 1)]
    # Then the end of its process does not put it back
    worker.stop(timeout=300)
    may_end.set()
    assert (ended(db), left(db)) == ([("discarded",)], [(0, 0)])


def test_a_dead_workers_message_does_not_come_back_if_it_was_cancelled(broker, db):
    # Given two messages whose worker died, for one of them the third
    workers = Workers(db)
    messages = [actor(broker, lambda: None, actor_name=f"job{n}").send() for n in range(2)]
    worker_id = workers.register()
    for _ in messages:
        workers.claim(worker_id)
    db("UPDATE dramatiq.queue SET lost_workers = 2 WHERE actor_name = 'job1'")
    assert len(cancelled(broker, *messages).asked) == 2
    db("UPDATE callboard.workers SET suspected_at = now() - interval '1 minute'")
    # When they are rescued
    assert sorted(row[1:3] for row in workers.rescue()) == [("job0", "discarded"), ("job1", "discarded")]
    # Then both are discarded, with the lost attempt on record
    assert sorted(db("SELECT actor_name, outcome, lost_workers FROM callboard.message_history")) == [
        ("job0", "discarded", 1),
        ("job1", "discarded", 3),
    ]
    assert [row[1] for row in attempts(db)] == ["lost", "lost"]
    assert (left(db), dead(db)) == ([(0, 0)], [])


def test_one_that_is_cancelled_inside_of_completion_writes_nothing(broker, db, work):
    # Given a message that is cancelled inside of its completion()
    job = Job()

    def pays():
        with completion() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE effect (n integer)")
            job()

    jobs = actor(broker, pays)
    with work():
        message = jobs.send()
        assert job.began.wait(10)
        cancelled(broker, message)
        wait_until(lambda: ended(db))
    # Then nothing of it was written
    assert (ended(db), left(db)) == ([("discarded",)], [(0, 0)])
    assert db("SELECT to_regclass('effect')") == [(None,)]


def test_whoever_waits_for_its_result_gets_a_failure(url, db):
    job = Job()
    broker = make_broker(url, Results(backend=PostgresResults()))
    jobs = actor(broker, job, actor_name="job", store_results=True)
    backend = broker.get_results_backend()
    # Of a message that was queued
    queued = jobs.send()
    cancelled(broker, queued)
    with pytest.raises(ResultFailure, match="was discarded by an operator"):
        queued.get_result(backend=backend, block=True, timeout=5_000)
    # And of one that ran
    with running_worker(broker):
        running = jobs.send()
        assert job.began.wait(10)
        cancelled(broker, running)
        with pytest.raises(ResultFailure, match="cancelled"):
            running.get_result(backend=backend, block=True, timeout=10_000)
    # And of one whose result was never stored
    db("DELETE FROM callboard.results")
    with pytest.raises(ResultFailure):
        running.get_result(backend=backend)
    broker.close()


def test_the_next_stage_of_its_pipeline_is_not_sent(broker, db, work):
    job, ran = Job(), []
    first = actor(broker, job, actor_name="first")
    second = actor(broker, lambda *_: ran.append(1), actor_name="second")
    with work():
        message = dramatiq.pipeline([first.message(), second.message()], broker=broker).run().messages[0]
        assert job.began.wait(10)
        cancelled(broker, message)
        wait_until(lambda: ended(db))
    assert (ended(db), left(db), ran) == ([("discarded",)], [(0, 0)], [])
