"""What is kept of worker processes: that each was there, how it ended, and how much memory it takes."""

from __future__ import annotations

import os
import uuid

import pytest

from callboard import memory
from callboard.broker.failures.causes import cause_of_reason
from callboard.broker.liveness.heartbeat import Heartbeat, unregister_parameters
from callboard.db import sql
from callboard.memory import resident_bytes
from callboard.terms import BEAT_OVERDUE_S
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import Workers, opened


@pytest.fixture
def db(url):
    with opened(url) as query:
        yield query


@pytest.fixture
def worker_id():
    return str(uuid.uuid4())


@pytest.fixture
def liveness(url, worker_id):
    liveness = Heartbeat(
        lambda: url,
        worker_id,
        queues=["jobs"],
        actors=[("job", "jobs", 0)],
        threads=3,
        on_rescue=lambda *_: None,
        on_forgotten=lambda: None,
    )
    yield liveness
    liveness.stop()


def register(db, worker_id):
    parameters = {"hostname": "host", "pid": 7, "queues": ["jobs"], "threads": 1, "version": "0", "holds_lock": False}
    db(sql("liveness/register"), worker_id=worker_id, **parameters)


def ends(db):
    return db("SELECT worker_id::text, ended_at IS NOT NULL, end_cause FROM callboard.worker_history")


def test_a_worker_is_kept_from_its_registration_on_and_its_end_is_noted(liveness, db, worker_id):
    # Given a process that lives
    liveness.start()
    wait_until(lambda: liveness.may_claim, what="registered")
    assert db("SELECT pid, queues, threads, ended_at, end_cause FROM callboard.worker_history") == [
        (os.getpid(), ["jobs"], 3, None, None)
    ]
    # When it stops in order
    liveness.stop()
    # Then that is known, although its row among the living is gone
    assert ends(db) == [(worker_id, True, "stopped")]
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]


def test_its_heartbeat_says_how_much_memory_it_takes(liveness, db, monkeypatch):
    liveness.start()
    wait_until(lambda: db("SELECT 1 FROM callboard.workers WHERE rss_bytes > 1000000"), what="the memory")
    # Where the system does not say it, nothing is claimed
    monkeypatch.setattr(memory, "STATM", memory.Path("/nowhere"))
    assert resident_bytes() is None
    wait_until(lambda: db("SELECT 1 FROM callboard.workers WHERE rss_bytes IS NULL"), what="none")


@pytest.mark.parametrize("cause", ["died", "silent"])
def test_a_worker_that_is_found_dead_has_that_as_its_end(db, worker_id, cause):
    register(db, worker_id)
    workers = Workers(db)
    if cause == "silent":
        workers.silence(worker_id, BEAT_OVERDUE_S + 1)
    db("UPDATE callboard.workers SET suspected_at = now() - interval '3 seconds'")
    workers.rescue()
    assert ends(db) == [(worker_id, True, cause)]
    # And one that registers again goes on
    register(db, worker_id)
    assert ends(db) == [(worker_id, False, None)]


def test_a_worker_that_leaves_a_stuck_message_behind_is_found_dead(db, worker_id):
    # Given a worker that ends, with a message that nothing could interrupt
    register(db, worker_id)
    db(
        "INSERT INTO dramatiq.queue (message_id, queue_name, message, state, attempt, lease_id, worker_id) "
        "SELECT gen_random_uuid(), 'jobs', '{\"actor_name\": \"job\"}', 'running', 1, n, %s "
        "FROM generate_series(1, 2) AS n",
        worker_id,
    )
    db(sql("liveness/unregister"), **unregister_parameters(worker_id, [(2, "It ran for 99 s.")]))
    # Then its other message went back, and it is not said to have stopped
    assert db("SELECT state, attempt, lease_id FROM dramatiq.queue ORDER BY lease_id") == [
        ("running", 1, 2),
        ("queued", 0, None),
    ]
    assert ends(db) == [(worker_id, False, None)]
    # When the leader looks
    db("UPDATE callboard.workers SET suspected_at = now() - interval '3 seconds'")
    assert Workers(db).rescue() == [("jobs", "job", "lost", "died")]
    # Then the loss is counted, with what is known of it
    assert ends(db) == [(worker_id, True, "died")]
    assert db("SELECT outcome, error_class, error_message FROM callboard.attempts") == [
        ("lost", "TimeLimitExceeded", "It ran for 99 s.")
    ]


def test_the_dead_letter_of_a_stuck_message_says_what_it_did_and_has_the_cause_of_its_attempts(db, worker_id):
    # Given a message that lost two workers and is stuck in the third
    register(db, worker_id)
    db(
        "INSERT INTO dramatiq.queue "
        "(message_id, queue_name, message, state, attempt, lost_workers, lease_id, worker_id) "
        "VALUES (gen_random_uuid(), 'jobs', '{\"actor_name\": \"job\"}', 'running', 3, 2, 1, %s)",
        worker_id,
    )
    db(sql("liveness/unregister"), **unregister_parameters(worker_id, [(1, "It ran for 99 s.")]))
    db("UPDATE callboard.workers SET suspected_at = now() - interval '3 seconds'")
    # When it is given up
    assert Workers(db).rescue() == [("jobs", "job", "dead", "died")]
    # Then whoever looks at the causes reads why, and a retry that hangs again is known as the same
    [(message, fingerprint)] = db("SELECT error_message, fingerprint FROM callboard.dead_letters")
    assert message == "The message lost 3 workers. The last time: It ran for 99 s."
    assert db("SELECT fingerprint FROM callboard.attempts") == [(fingerprint,)]
    assert fingerprint == cause_of_reason("lost_worker", "job").fingerprint
