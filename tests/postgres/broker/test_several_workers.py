"""Several Workers in one process: each has its own side, and ends its own."""

from __future__ import annotations

import asyncio
import threading
import time

import dramatiq
import pytest
from dramatiq.middleware import TimeLimitExceeded
from dramatiq.middleware.asyncio import AsyncIO

from callboard.broker import completion, current_delivery, set_default_broker
from callboard.errors import CallboardError
from middleware.metrics import Metrics
from middleware.time_limits import TimeLimits
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.broker.test_verdicts import actor, dead, ended

CLAIMING = {"callboard-intake", "callboard-completions", "callboard-liveness"}


@pytest.fixture
def url(database_url):
    """One kind of server: what runs here differs in Python only."""
    return database_url


def start(broker, **options):
    worker = dramatiq.Worker(broker, worker_timeout=50, **{"worker_threads": 2, **options})
    worker.start()
    return worker


def claiming():
    """Return the threads of ours that take or end messages."""
    return [thread.name for thread in threading.enumerate() if thread.name in CLAIMING and thread.is_alive()]


def registered(db):
    return db("SELECT count(*) FROM callboard.workers")[0][0]


@pytest.fixture
def nobody_claims(db):
    """Return a check that no Worker of this process does anything any more."""
    before = len(claiming())

    def check():
        wait_until(lambda: len(claiming()) == before, what="the end of all claiming")
        assert registered(db) == 0

    return check


def test_both_end_with_their_own_stop(broker, db, nobody_claims):
    # Given two Workers on one broker
    jobs = actor(broker, lambda: None, actor_name="job")
    first, second = start(broker), start(broker)
    wait_until(lambda: registered(db) == 2)
    # When they stop
    first.stop(timeout=2000)
    second.stop(timeout=2000)
    # Then nothing claims, and what is sent waits for others
    nobody_claims()
    assert broker.workers == ()
    jobs.send()
    time.sleep(0.3)
    assert db("SELECT state FROM dramatiq.queue") == [("queued",)]


@pytest.mark.parametrize("stops_first", [True, False])
def test_one_goes_on_when_the_other_stops(broker, db, nobody_claims, stops_first):
    # Given two Workers, each with a message that runs
    began, may_end = [], threading.Event()
    jobs = actor(broker, lambda n: began.append(current_delivery().holder) or may_end.wait(20), actor_name="job")
    workers = [start(broker, worker_threads=1), start(broker, worker_threads=1)]
    for n in range(2):
        jobs.send(n)
    wait_until(lambda: len(set(began)) == 2)
    # When one of them stops before its message ends
    stopped, other = workers if stops_first else workers[::-1]
    runtime = broker.worker_of(other)
    stopped.stop(timeout=100)
    # Then its row is gone and its message waits, or is taken by the other one, uncounted
    assert broker.workers == (runtime,) and registered(db) == 1
    may_end.set()
    wait_until(lambda: len(ended(db)) == 2)
    assert db("SELECT DISTINCT attempt, lost_workers FROM callboard.message_history") == [(1, 0)]
    other.stop(timeout=2000)
    nobody_claims()


def test_a_worker_that_nobody_stops_ends_with_the_broker(url, db, nobody_claims):
    broker = make_broker(url)
    began, may_end = threading.Event(), threading.Event()
    actor(broker, lambda: began.set() or may_end.wait(20), actor_name="job").send()
    forgotten = start(broker)
    assert began.wait(10)
    second = start(broker)
    second.stop(timeout=2000)
    assert len(broker.workers) == 1
    broker.close()
    nobody_claims()
    # And what it ran is another one's, uncounted
    assert db("SELECT state, attempt, lost_workers FROM dramatiq.queue") == [("queued", 0, 0)]
    may_end.set()
    forgotten.stop(timeout=2000)


def test_each_one_serves_its_own_queues(broker, db):
    # Given a Worker a queue
    ran, are_its_own = [], []

    def job(name):
        worker_id = current_delivery().holder.worker_id
        [runtime] = [runtime for runtime in broker.workers if runtime.worker_id == worker_id]
        ran.append((name, tuple(runtime.queue_names)))
        with completion() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT worker_id::text FROM dramatiq.queue WHERE state = 'running'")
            are_its_own.append((worker_id,) in cursor.fetchall())

    one, other = (dramatiq.actor(job, broker=broker, queue_name=name, actor_name=f"{name}_job") for name in ("a", "b"))
    workers = [start(broker, queues={"a"}), start(broker, queues={"b"})]
    # When both are sent messages
    for _ in range(5):
        one.send("a")
        other.send("b")
    wait_until(lambda: len(ended(db)) == 10)
    # Then each ran its own, with leases of its own
    assert set(ran) == {("a", ("a",)), ("b", ("b",))}
    assert all(are_its_own)
    for worker in workers:
        worker.stop(timeout=2000)


def test_a_worker_that_stopped_may_start_again(broker, db, nobody_claims):
    jobs = actor(broker, lambda: None, actor_name="job")
    worker = start(broker)
    for count in (1, 2, 3):
        jobs.send()
        wait_until(lambda count=count: len(ended(db)) == count)
        # Its pause and its resumption wait for all of its threads
        worker.pause()
        worker.resume()
        worker.stop(timeout=2000)
        nobody_claims()
        assert "stop" not in vars(worker)
        if count < 3:
            worker.start()


def test_a_worker_that_runs_cannot_be_started_again(broker, db, nobody_claims):
    worker = start(broker)
    with pytest.raises(CallboardError, match="runs already"):
        worker.start()
    worker.stop(timeout=2000)
    nobody_claims()


def test_a_queue_that_is_declared_later_is_consumed_by_those_that_still_run(broker, db):
    actor(broker, lambda: None, actor_name="job")
    stopped, running = start(broker), start(broker)
    stopped.stop(timeout=2000)
    late = dramatiq.actor(lambda: None, actor_name="late", broker=broker, queue_name="late")
    assert "late" in running.consumers and "late" not in stopped.consumers
    late.send()
    wait_until(lambda: ended(db))
    running.stop(timeout=2000)


def test_brokers_side_by_side_end_by_themselves(url, db, nobody_claims):
    brokers = [make_broker(url), make_broker(url)]
    jobs = [actor(broker, lambda: None, actor_name="job") for broker in brokers]
    workers = [start(broker) for broker in brokers]
    workers[0].stop(timeout=2000)
    brokers[0].close()
    jobs[1].send()
    wait_until(lambda: ended(db))
    # And the process is still one with a worker, where a bare thread must not write
    errors = []

    def write():
        try:
            with completion():
                pass
        except CallboardError as error:
            errors.append(str(error))

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert len(errors) == 1
    workers[1].stop(timeout=2000)
    brokers[1].close()
    nobody_claims()


def test_the_event_loop_is_shared_and_ends_with_the_last(url, db):
    broker = make_broker(url, AsyncIO())
    set_default_broker(broker)
    loops, may_end = [], threading.Event()

    async def job():
        loops.append(asyncio.get_running_loop())
        await asyncio.to_thread(may_end.wait, 20)

    jobs = actor(broker, job)
    first, second = start(broker, worker_threads=1), start(broker, worker_threads=1)
    for _ in range(2):
        jobs.send()
    wait_until(lambda: len(loops) == 2)
    may_end.set()
    wait_until(lambda: len(ended(db)) == 2)
    # When the first one stops, the other's actors run on
    first.stop(timeout=2000)
    jobs.send()
    wait_until(lambda: len(ended(db)) == 3)
    assert len(set(loops)) == 1
    second.stop(timeout=2000)
    wait_until(loops[0].is_closed)
    # And the next Worker has one again
    with running_worker(broker):
        jobs.send()
        wait_until(lambda: len(ended(db)) == 4)
    assert dead(db) == []
    broker.close()


def test_time_limits_hold_after_another_worker_stopped(url, db):
    broker = make_broker(url, TimeLimits(interval=50))

    def job():
        until = time.monotonic() + 20
        while time.monotonic() < until:
            time.sleep(0.005)

    first, second = start(broker), start(broker)
    first.stop(timeout=2000)
    actor(broker, job, time_limit=100, max_retries=0).send()
    wait_until(lambda: dead(db))
    assert dead(db) == [("max_retries", TimeLimitExceeded.__name__)]
    second.stop(timeout=2000)
    broker.close()


def test_what_runs_in_all_of_them_is_counted_together(url, db, monkeypatch):
    monkeypatch.setattr("middleware.metrics.SAMPLE_INTERVAL_S", 0.05)
    metrics = Metrics()
    broker = make_broker(url, metrics)
    may_end = threading.Event()
    jobs = dramatiq.actor(lambda: may_end.wait(20), actor_name="job", broker=broker, queue_name="counted")

    def counted():
        return metrics._child(broker, "IN_PROGRESS", "counted")._value.get()

    first, second = start(broker, worker_threads=1), start(broker, worker_threads=1)
    for _ in range(2):
        jobs.send()
    wait_until(lambda: counted() == 2)
    may_end.set()
    wait_until(lambda: len(ended(db)) == 2 and counted() == 0)
    first.stop(timeout=2000)
    may_end.clear()
    jobs.send()
    wait_until(lambda: counted() == 1)
    may_end.set()
    second.stop(timeout=2000)
    wait_until(lambda: counted() == 0)
    broker.close()
