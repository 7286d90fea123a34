"""Faults that reach the broker from outside: lost answers, malformed rows, foreign locks, frozen sessions."""

from __future__ import annotations

import threading
import uuid

import dramatiq
import psycopg2
import psycopg2.extras
import pytest
from dramatiq import JSONEncoder

from callboard.broker import PostgresBroker
from callboard.broker.claiming import intake as intake_module
from callboard.errors import Postponed
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.broker.proxy import Proxy
from tests.postgres.broker.test_verdicts import actor, dead, ended


def test_a_claim_whose_answer_was_lost_runs_after_all(url, db, monkeypatch):
    # Given a worker behind a proxy, which runs its first message
    monkeypatch.setattr(intake_module, "RECLAIM_INTERVAL_S", 0.2)
    with Proxy(url) as proxy:
        broker = make_broker(proxy.url)
        ran = []
        job = actor(broker, ran.append, actor_name="job")
        with running_worker(broker):
            job.send("first")
            wait_until(lambda: "first" in ran)
            # When the claim of the next one is committed, but its answer never comes
            victim = job.message("victim")
            # Not just any claim's: the one after the first message may come this late, and finds nothing.
            proxy.lose_next_answer(lambda: None, to=b"EXECUTE callboard_claim", holding=victim.message_id.encode())
            PostgresBroker(url=url, middleware=[]).enqueue(victim)
            wait_until(lambda: db("SELECT 1 FROM dramatiq.queue WHERE state = 'running'"))
            db("UPDATE dramatiq.queue SET claimed_at = now() - interval '1 minute'")
            # Then it is handed back and runs, uncounted
            wait_until(lambda: "victim" in ran, 20)
            wait_until(lambda: len(ended(db)) == 2)
        broker.close()
    assert db("SELECT DISTINCT attempt FROM callboard.message_history") == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        {"actor_name": ["job"]},
        {"actor_name": 7},
        {"args": "bad"},
        {"args": None},
        {"kwargs": []},
        {"unknown": 1},
        {"options": None},
    ],
)
def test_a_malformed_row_is_a_dead_letter_and_disturbs_nobody(broker, db, work, change):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    bad = {**job.message("bad").asdict(), **change}
    row = "INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (%s, 'jobs', %s)"
    db(row, str(uuid.uuid4()), psycopg2.extras.Json(bad))
    job.send("good")
    with work():
        wait_until(lambda: dead(db) and ended(db))
    assert dead(db)[0][0] == "invalid"
    assert ran == ["good"]


def test_a_row_that_no_decoder_takes_leaves_the_rest_of_its_claim_alone(broker, db, work):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    # Given JSON that is deeper than Python goes, as SQL can write it, among others of one claim
    deep = '{"actor_name": "job", "kwargs": {}, "options": {}, "args": ' + "[" * 3_000 + "]" * 3_000 + "}"
    db("INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (gen_random_uuid(), 'jobs', %s)", deep)
    for n in range(3):
        job.send(n)
    with work():
        wait_until(lambda: dead(db) and len(ended(db)) == 3)
    assert dead(db)[0][0] == "invalid"
    assert sorted(ran) == [0, 1, 2]


def test_a_decoder_that_fails_in_its_own_way_makes_a_dead_letter(broker, db, work):
    class Picky(JSONEncoder):
        def decode(self, data):
            fields = super().decode(data)
            return {**fields, "args": [{"good": 1}[fields["args"][0]]]}

    ran = []
    job = actor(broker, ran.append, actor_name="job")
    job.send("bad")
    job.send("good")
    dramatiq.set_encoder(Picky())
    try:
        with work():
            wait_until(lambda: dead(db) and ended(db))
    finally:
        dramatiq.set_encoder(JSONEncoder())
    assert (dead(db), ran) == ([("invalid", "KeyError")], [1])


def test_a_message_moved_to_another_queue_by_hand_runs_there(broker, db, work):
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    dramatiq.actor(lambda: None, actor_name="other", queue_name="others", broker=broker)
    job.send("moved")
    db("UPDATE dramatiq.queue SET queue_name = 'others'")
    with work():
        wait_until(lambda: ended(db))
    assert ran == ["moved"]


def test_a_worker_of_no_queue_at_all_lives_on(broker):
    worker = dramatiq.Worker(broker, queues={"emial"}, worker_timeout=50, worker_threads=1)
    actor(broker, lambda: None, actor_name="job")
    worker.start()
    wait_until(lambda: broker.worker.heartbeat.may_claim)
    first = broker.worker.intake.cycle_clock
    broker.worker.intake.wake()
    wait_until(lambda: broker.worker.intake.cycle_clock > first)
    assert broker.worker.stalled() is None
    worker.stop(timeout=1000)


def test_a_message_sent_again_after_the_error_does_not_run_twice(broker, db, work):
    # Given a send that failed although its message was stored, and that is done by now
    ran = []
    job = actor(broker, ran.append, actor_name="job")
    message = job.message("charge")
    broker.enqueue(message)
    object.__setattr__(message, "may_be_stored", True)
    with work():
        wait_until(lambda: ended(db))
        # When its caller sends it again
        broker.enqueue(message)
        other = job.send("after")
        wait_until(lambda: db("SELECT 1 FROM callboard.message_history WHERE message_id = %s", other.message_id))
    # Then it is not stored again
    assert ran == ["charge", "after"]


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error", [Unspeakable(), dramatiq.errors.Retry("later", delay=10**16), Postponed("x", wait_s=1e30)]
)
def test_an_odd_failure_frees_its_slot_and_is_kept(broker, db, work, error):
    def job():
        raise error

    after = []
    done = actor(broker, lambda: after.append(1), actor_name="done")
    with work(threads=1):
        actor(broker, job).send()
        wait_until(lambda: db("SELECT 1 FROM callboard.attempts"))
        done.send()
        wait_until(lambda: after)


def test_a_row_that_somebody_locked_does_not_hold_up_the_others(broker, db, url, work):
    started, may_end = threading.Event(), threading.Event()

    def job(n):
        if n == 0:
            started.set()
            may_end.wait(10)

    jobs = actor(broker, job)
    with work(threads=2):
        locked = jobs.send(0)
        assert started.wait(10)
        with psycopg2.connect(url) as other, other.cursor() as cursor:
            # Given a verdict whose row is locked by a transaction that does not end
            cursor.execute("SELECT 1 FROM dramatiq.queue WHERE message_id = %s FOR UPDATE", (locked.message_id,))
            may_end.set()
            for n in range(1, 6):
                jobs.send(n)
            # Then the other verdicts are written
            wait_until(lambda: len(ended(db)) == 5)
            other.rollback()
        other.close()
        # And this one as soon as the lock is gone
        wait_until(lambda: len(ended(db)) == 6)
