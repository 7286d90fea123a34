"""The drain of a worker: its full time for every thread, and what becomes of a message that outlasts it."""

from __future__ import annotations

import threading
import time

import dramatiq
from dramatiq.middleware import Middleware, ShutdownNotifications

from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker
from tests.postgres.broker.test_verdicts import actor, ended


class Outcomes(Middleware):
    """Keeps what the database was told, verdict by verdict."""

    def __init__(self):
        self.seen = []

    def after_verdicts(self, broker, written):
        self.seen += [outcome.value for _, outcome in written]


def start(broker, threads):
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=threads)
    worker.start()
    return worker


def test_every_thread_gets_the_whole_grace(broker, db):
    # Given a message in each of three threads; in the order in which Dramatiq joins them they end after .5, .9 and .95
    grace_s, began = 2.0, []
    stopped = threading.Event()

    def job():
        place = worker.workers.index(threading.current_thread())
        began.append(place)
        stopped.wait(10)
        time.sleep((0.5, 0.9, 0.95)[place] * grace_s)

    jobs = actor(broker, job)
    worker = start(broker, threads=3)
    for _ in range(3):
        jobs.send()
    wait_until(lambda: len(began) == 3)
    # When the worker stops
    stopped.set()
    worker.stop(timeout=int(grace_s * 1000))
    # Then all three are done
    assert ended(db) == [("done",)] * 3


def test_a_message_that_outlasts_the_grace_is_released_and_its_late_verdict_is_lost(url, db):
    # Given a message that runs for longer than its worker's grace
    outcomes, began, may_end = Outcomes(), threading.Event(), threading.Event()
    broker = make_broker(url, outcomes)

    def job():
        began.set()
        may_end.wait(10)

    actor(broker, job).send()
    worker = start(broker, threads=1)
    assert began.wait(10)
    # When the worker stops, and the message ends while the process still lives
    stopping = threading.Thread(target=worker.stop, kwargs={"timeout": 300})
    stopping.start()
    wait_until(lambda: db("SELECT attempt, retries, lost_workers FROM dramatiq.queue WHERE state = 'queued'"))
    may_end.set()
    stopping.join(20)
    broker.close()
    # Then it waits for another worker as if it had never been claimed, and what it said too late changed nothing
    assert outcomes.seen == ["released", "lost"]
    assert db("SELECT state, attempt, retries, lost_workers FROM dramatiq.queue") == [("queued", 0, 0, 0)]
    assert ended(db) == []
    assert db("SELECT count(*) FROM callboard.attempts") == [(0,)]


def test_the_grace_bounds_the_stop_also_with_many_threads_that_outlast_it(broker, db):
    # Given four messages that do not end
    began, may_end = [], threading.Event()
    jobs = actor(broker, lambda n: began.append(n) or may_end.wait(20), actor_name="job")
    worker = start(broker, threads=4)
    for n in range(4):
        jobs.send(n)
    wait_until(lambda: len(began) == 4)
    # When the worker stops
    clock = time.monotonic()
    worker.stop(timeout=500)
    took_s = time.monotonic() - clock
    may_end.set()
    # Then it has waited once, not once for each thread
    assert took_s < 8
    assert db("SELECT DISTINCT state, attempt FROM dramatiq.queue") == [("queued", 0)]
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]


def test_an_actor_that_asked_to_hear_of_a_shutdown_hears_it_at_its_beginning(url, db):
    broker = make_broker(url, ShutdownNotifications())
    began = threading.Event()

    def job():
        began.set()
        until = time.monotonic() + 20
        while time.monotonic() < until:
            time.sleep(0.01)

    actor(broker, job, notify_shutdown=True).send()
    worker = start(broker, threads=1)
    assert began.wait(10)
    clock = time.monotonic()
    worker.stop(timeout=15_000)
    assert time.monotonic() - clock < 10
    assert db("SELECT state, attempt FROM dramatiq.queue") == [("queued", 0)]
    broker.close()


def test_leaving_at_once_hands_everything_back_and_forgets_the_worker(broker, db):
    # Given a worker that runs one message while another one waits for its thread
    began, may_end = threading.Event(), threading.Event()

    def job():
        began.set()
        may_end.wait(10)

    jobs = actor(broker, job)
    worker = start(broker, threads=1)
    for _ in range(2):
        jobs.send()
    assert began.wait(10)
    # When it leaves
    broker.worker.leave()
    # Then both wait for others, uncounted, and nobody has to find the worker dead
    assert db("SELECT state, attempt, lost_workers FROM dramatiq.queue") == [("queued", 0, 0)] * 2
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]
    # And it does not come back in the moments before its process ends
    broker.worker.heartbeat.thread.join(10)
    assert not broker.worker.heartbeat.thread.is_alive()
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]
    may_end.set()
    worker.stop(timeout=1000)
