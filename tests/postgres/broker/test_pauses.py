"""A pause holds for what a worker process has claimed already and not started."""

from __future__ import annotations

import threading
import time

import pytest

from callboard.broker.claiming.prefetch import Prefetch
from callboard.ops.audit import Operator
from callboard.ops.queues.controls import pause_queues, resume_queues
from tests.conftest import wait_until
from tests.postgres.broker.test_verdicts import actor

ANN = Operator("ann@host", "cli")


@pytest.fixture
def claims_ahead(monkeypatch):
    """A process that claims far ahead of its threads, as one does whose messages were short until now."""
    monkeypatch.setattr(Prefetch, "room", lambda self, held: 20 - held)


def control(broker, change, *arguments):
    with broker.pool.cursor() as cursor:
        return change(cursor, ["jobs"], ANN, *arguments)


def test_what_a_busy_process_has_claimed_ahead_goes_back_and_starts_after_the_pause(broker, db, work, claims_ahead):
    # Given one thread that runs a long message, with others claimed behind it
    ran, may_end = [], threading.Event()

    def job(n):
        ran.append(n)
        may_end.wait(20)

    jobs = actor(broker, job)
    for n in range(5):
        jobs.send(n)
    with work(threads=1):
        wait_until(lambda: db("SELECT count(*) FROM dramatiq.queue WHERE state = 'running'") == [(5,)])
        # When the queue is paused
        control(broker, pause_queues)
        # Then all but the one that runs wait in the database again, as if they had never been claimed
        wait_until(lambda: db("SELECT count(*) FROM dramatiq.queue WHERE state = 'queued' AND attempt = 0") == [(4,)])
        may_end.set()
        wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(1,)])
        assert ran == [0]
        # And when it goes on they run
        control(broker, resume_queues)
        wait_until(lambda: len(ran) == 5)


def test_what_was_claimed_too_long_ago_does_not_start_even_if_the_intake_hands_nothing_back(
    broker, db, work, claims_ahead, monkeypatch
):
    # Given a process whose intake cannot look after what waits, because it waits for the database itself
    monkeypatch.setattr("callboard.broker.worker.leases.WAIT_HERE_S", 60)
    monkeypatch.setattr("callboard.broker.running.delivery.START_WITHIN_S", 0.3)
    ran, may_end = [], threading.Event()

    def job(n):
        ran.append(n)
        may_end.wait(20)

    jobs = actor(broker, job)
    jobs.send(0)
    jobs.send(1)
    with work(threads=1):
        wait_until(lambda: db("SELECT count(*) FROM dramatiq.queue WHERE state = 'running'") == [(2,)])
        control(broker, pause_queues)
        wait_until(
            lambda: all(time.monotonic() - d.claimed_clock > 0.3 for d in broker.worker.leases.held() if d.is_waiting)
        )
        # When the thread comes free
        may_end.set()
        # Then it hands the second one back in place of starting it
        wait_until(lambda: db("SELECT state, attempt FROM dramatiq.queue") == [("queued", 0)])
        assert ran == [0]
        assert db("SELECT count(*) FROM callboard.attempts") == [(0,)]
        control(broker, resume_queues)
        wait_until(lambda: ran == [0, 1])
