"""Async actors: what stops one, what one may do to the event loop, and what a worker without one says."""

from __future__ import annotations

import asyncio
import threading

import dramatiq
import pytest
from dramatiq.middleware import ShutdownNotifications, TimeLimitExceeded
from dramatiq.middleware.asyncio import AsyncIO

from callboard.broker import completion, current_delivery, set_default_broker
from callboard.errors import Cancelled, ConfigurationError, Postponed
from callboard.ops.audit import Operator
from callboard.ops.messages.cancellation import cancel
from middleware.time_limits import TimeLimits
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.broker.test_verdicts import actor, dead, ended

ANN = Operator("ann@host", "cli")


@pytest.fixture
def url(database_url):
    """One kind of server: what runs here differs in Python only."""
    return database_url


@pytest.fixture
def broker(url):
    broker = make_broker(url, TimeLimits(interval=50), ShutdownNotifications(), AsyncIO())
    set_default_broker(broker)
    yield broker
    broker.close()


class Job:
    """An async actor that waits until it is stopped, and takes its time to clean up."""

    def __init__(self, cleanup_s=0.0):
        self.began, self.cleaned, self.heard = threading.Event(), threading.Event(), []
        self._cleanup_s = cleanup_s

    async def run(self):
        self.began.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.heard.append(current_delivery().message_id)
            raise
        finally:
            await asyncio.sleep(self._cleanup_s)
            self.cleaned.set()


def test_its_time_limit_cancels_it(broker, db, work):
    job = Job()
    with work():
        sent = actor(broker, job.run, actor_name="job", time_limit=200, max_retries=0).send()
        wait_until(lambda: dead(db))
    assert job.heard == [sent.message_id]
    assert dead(db) == [("max_retries", TimeLimitExceeded.__name__)]


def test_one_that_takes_its_time_to_end_is_waited_for(broker, db, work):
    # Given an actor that needs longer to clean up than the second which Dramatiq gives it
    job, overlaps = Job(cleanup_s=1.5), []

    async def run():
        overlaps.append(job.began.is_set() and not job.cleaned.is_set())
        if len(overlaps) == 1:
            await job.run()

    with work():
        actor(broker, run, actor_name="job", time_limit=200).send()
        wait_until(lambda: ended(db))
    # Then its next attempt begins when it has ended, for the reason that ended it
    assert overlaps == [False, False]
    assert db("SELECT outcome, error_class FROM callboard.attempts") == [("retry", TimeLimitExceeded.__name__)]


def test_an_operator_cancels_it(broker, db, work):
    job = Job(cleanup_s=1.2)
    with work():
        sent = actor(broker, job.run, actor_name="job").send()
        assert job.began.wait(10)
        with broker.pool.cursor() as cursor:
            cancel(cursor, [sent.message_id], ANN)
        wait_until(lambda: ended(db))
    assert job.heard == [sent.message_id]
    assert db("SELECT outcome, error_class FROM callboard.attempts") == [("discarded", Cancelled.__name__)]


def test_a_shutdown_releases_it(broker, db):
    job = Job(cleanup_s=1.2)
    actor(broker, job.run, actor_name="job", notify_shutdown=True).send()
    with running_worker(broker):
        assert job.began.wait(10)
    assert job.cleaned.is_set()
    assert db("SELECT state, attempt FROM dramatiq.queue") == [("queued", 0)]


def test_a_neighbour_on_the_loop_hears_nothing_of_it(broker, db, work):
    stopped, may_end = Job(), threading.Event()

    async def neighbour():
        await asyncio.to_thread(may_end.wait, 20)

    with work():
        actor(broker, neighbour, actor_name="neighbour").send()
        actor(broker, stopped.run, actor_name="job", time_limit=200, max_retries=0).send()
        wait_until(lambda: dead(db))
        may_end.set()
        wait_until(lambda: ended(db))
    assert ended(db) == [("done",)]


def test_the_loop_lives_on_after_a_time_limit_that_passes_after_completion(broker, db, work):
    # Given an actor that ends its message on the loop, and goes on until its time limit
    began = []

    async def job(first):
        began.append(first)
        if first:
            with completion():
                await asyncio.sleep(0)
            await asyncio.sleep(30)

    jobs = actor(broker, job, time_limit=300)
    with work():
        jobs.send(True)
        wait_until(lambda: ended(db))
        wait_until(lambda: not broker.worker.leases.held(), what="its end")
        # Then that has stopped it, and the next one runs on the same loop
        jobs.send(False)
        wait_until(lambda: len(ended(db)) == 2)
    assert began == [True, False] and dead(db) == []


async def times_out():
    raise TimeoutError("the carrier")


async def exits():
    raise SystemExit(3)


async def cancels_itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


async def waits_too_long():
    async with asyncio.timeout(0.05):
        await asyncio.sleep(10)


async def takes_no_argument():
    """Stand for a signature that has changed."""


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (times_out, "TimeoutError"),
        (waits_too_long, "TimeoutError"),
        (exits, "SystemExit"),
        (cancels_itself, "CancelledError"),
        (takes_no_argument, "TypeError"),
    ],
)
def test_its_failure_is_its_messages_and_nobody_elses(broker, db, work, function, error):
    async def fine():
        await asyncio.sleep(0)

    with work():
        actor(broker, function, actor_name="job", max_retries=0).send(*[1] * (function is takes_no_argument))
        wait_until(lambda: dead(db))
        actor(broker, fine).send()
        wait_until(lambda: ended(db))
    assert dead(db) == [("max_retries", error)]


def test_it_may_be_postponed(broker, db, work):
    async def job():
        if current_delivery().attempt == 1:
            raise Postponed("rate limit", wait_s=0.01)

    with work():
        actor(broker, job).send()
        wait_until(lambda: ended(db))
    assert db("SELECT outcome FROM callboard.attempts") == [("postponed",)]


def test_one_that_is_called_on_the_loop_says_so_and_does_not_block_it(broker, db, work):
    async def inner():
        return 1

    inner_actor = actor(broker, inner)

    async def outer():
        inner_actor.fn()

    with work():
        actor(broker, outer, max_retries=0).send()
        wait_until(lambda: dead(db))
    [(text,)] = db("SELECT error_message FROM callboard.dead_letters")
    assert "was called on the event loop" in text


def test_a_plain_actor_may_call_an_async_one(broker, db, work):
    async def inner():
        return current_delivery().message_id

    inner_actor, got = actor(broker, inner), []
    with work():
        sent = actor(broker, lambda: got.append(inner_actor()), actor_name="outer").send()
        wait_until(lambda: ended(db))
    assert got == [sent.message_id]


def test_a_coroutine_that_blocks_the_loop_does_not_keep_the_worker_from_ending(broker, db):
    began, may_end = threading.Event(), threading.Event()

    async def job():
        began.set()
        may_end.wait(30)

    actor(broker, job).send()
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
    worker.start()
    assert began.wait(10)
    stopping = threading.Thread(target=worker.stop, kwargs={"timeout": 100})
    stopping.start()
    stopping.join(20)
    is_stopped = not stopping.is_alive()
    may_end.set()
    stopping.join(20)
    assert is_stopped
    assert db("SELECT state, attempt FROM dramatiq.queue") == [("queued", 0)]


def test_a_worker_without_an_event_loop_names_the_actors_it_cannot_run(url):
    broker = make_broker(url)
    actor(broker, times_out)
    actor(broker, exits)
    actor(broker, lambda: None, actor_name="plain")
    worker = dramatiq.Worker(broker, worker_threads=1)
    with pytest.raises(ConfigurationError, match=r"Actors 'exits', 'times_out' cannot run: .*AsyncIO"):
        worker.start()
    assert broker.worker is None
    broker.close()


def test_an_async_actor_that_comes_after_the_start_is_refused_too(url):
    broker = make_broker(url)
    with running_worker(broker):
        with pytest.raises(ConfigurationError, match="Actor 'exits' cannot run"):
            actor(broker, exits)
        assert "exits" not in broker.actors
    broker.close()
