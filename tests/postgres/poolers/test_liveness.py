"""Who counts as dead where sessions are lent, and who leads."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from types import SimpleNamespace

import dramatiq
import psycopg2
import pytest

from callboard.broker.liveness import heartbeat as module
from callboard.broker.liveness.heartbeat import Heartbeat
from callboard.db import sql
from callboard.db.connections.session import Connection
from callboard.terms import BEAT_OVERDUE_S, DUTY_OVERDUE_S
from tests.conftest import wait_until
from tests.poolers import pooled
from tests.postgres.broker.conftest import running_worker
from tests.postgres.broker.fake_workers import Workers, held_lock, opened


@contextlib.contextmanager
def living(url, *, has_lock):
    """Run a worker process's liveness; pause() stops it as SIGSTOP would, without a goodbye."""
    worker_id, rescued = str(uuid.uuid4()), []
    liveness = Heartbeat(
        lambda: url,
        worker_id,
        queues=["jobs"],
        actors=[],
        threads=1,
        on_rescue=lambda *what: rescued.append(what),
        on_forgotten=lambda: None,
        has_lock=has_lock,
    )
    liveness.start()
    wait_until(lambda: liveness.may_claim, 20, "registered")

    def pause():
        liveness._stopping.set()
        liveness.thread.join(10)

    try:
        yield SimpleNamespace(heartbeat=liveness, worker_id=worker_id, rescued=rescued, pause=pause)
    finally:
        liveness.stop()


@pytest.fixture
def workers(database_url):
    """Looks for the dead straight in the database, as a leader on another kind of connection does."""
    with opened(database_url) as query:
        wait_until(
            lambda: query("SELECT pg_postmaster_start_time() < now() - interval '10 seconds'") == [(True,)],
            15,
            "10 s of uptime",
        )
        yield Workers(query)


@pytest.mark.parametrize("has_lock", [False, True], ids=["QUEUE_LISTEN=off", "left on"])
def test_a_paused_worker_behind_a_pooler_is_no_dead_one(pooler, db, workers, has_lock):
    # Given a worker behind a pooler
    with living(pooler.url, has_lock=has_lock) as worker:
        # When it is paused, and the pooler closes its sessions
        worker.pause()
        wait_until(lambda: pooler.ask("RECONNECT") or sessions_of(db) == 0, 20, "the end of its locks")
        # Then nobody thinks that it is dead
        assert workers.look() == 0
        # But its late heartbeat says so
        workers.silence(worker.worker_id, BEAT_OVERDUE_S + 1)
        assert workers.look() == 1


def sessions_of(db):
    return db(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )[0][0]


def test_a_worker_straight_in_the_database_is_known_by_its_lock(database_url, db, workers):
    with living(database_url, has_lock=True) as worker:
        wait_until(lambda: worker.heartbeat.leads, 20, "the lead")
        assert db("SELECT holds_lock FROM callboard.workers") == [(True,)]
        worker.pause()
        worker.heartbeat._connection.close()
        wait_until(lambda: workers.look() == 1, what="the suspicion")
        worker.heartbeat._connection = None


def test_behind_a_pooler_in_session_mode_only_a_heartbeat_counts_as_well(database_url, db, workers):
    # Its mode cannot be seen from here, and a wrong guess would run messages twice.
    with pooled(database_url, "session") as pooler, living(pooler.url, has_lock=True) as worker:
        wait_until(lambda: worker.heartbeat.leads, 20, "the lead")
        assert db("SELECT holds_lock FROM callboard.workers") == [(False,)]
        worker.pause()
        worker.heartbeat._disconnect()
        assert workers.look() == 0


def test_a_lock_that_is_seen_in_other_hands_proves_nothing_from_then_on(database_url, db, workers):
    # Given a worker whose sessions seem to be its own, as behind a proxy that hands the options on
    with living(database_url, has_lock=True) as worker:
        wait_until(lambda: worker.heartbeat.leads, 20, "the lead")
        # When its next beat comes in another session
        lent = psycopg2.connect(database_url, connection_factory=Connection)
        lent.autocommit = True
        kept, worker.heartbeat._connection = worker.heartbeat._connection, lent
        no_lock = "SELECT holds_lock FROM callboard.workers"
        wait_until(lambda: db(no_lock) == [(False,)], 20, "the look")
        # Then it stays so, also when the first one is back
        worker.heartbeat._connection = kept
        [(before,)] = db("SELECT beat_at FROM callboard.workers")
        wait_until(lambda: db("SELECT beat_at > %s FROM callboard.workers", before) == [(True,)], 20)
        assert db(no_lock) == [(False,)]
        lent.close()


def test_one_leads_behind_a_pooler_and_the_next_when_it_falls_silent(pooler, monkeypatch):
    monkeypatch.setattr(module, "DUTY_OVERDUE_S", 3)
    with living(pooler.url, has_lock=False) as first:
        wait_until(lambda: first.heartbeat.leads, 20, "the lead")
        with living(pooler.url, has_lock=False) as second:
            # Given two workers, of which one leads
            leads = [(first.heartbeat.leads, second.heartbeat.leads) for _ in range(20) if not time.sleep(0.1)]
            assert set(leads) == {(True, False)}
            # When that one is paused, then the other one leads
            first.pause()
            wait_until(lambda: second.heartbeat.leads, 20, "the lead")


def test_racing_workers_have_one_leader(database_url, db, workers):
    # Given the lead without anybody, and many that beat at once
    ids = [workers.register() for _ in range(8)]
    barrier, leads = threading.Barrier(len(ids)), []
    parameters = {"rss_bytes": None, "leads": False, "channel": None, "holds_lock": False, "session_pid": 0}

    def beat(worker_id):
        with opened(database_url) as query:
            barrier.wait(10)
            leads.append(
                query(sql("liveness/beat"), worker_id=worker_id, duty_overdue_s=DUTY_OVERDUE_S, **parameters)[0][1]
            )

    db("UPDATE callboard.workers SET holds_lock = false")
    for _ in range(5):
        db("UPDATE callboard.duties SET worker_id = NULL")
        leads.clear()
        threads = [threading.Thread(target=beat, args=(worker_id,)) for worker_id in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert leads.count(True) == 1


def test_suspects_run_alone_behind_a_pooler(pooler, db, make_pooled_broker):
    # Given a message that lost two workers, and a worker that had the turn and is gone
    broker = make_pooled_broker(pooler.url)
    ran = []
    actor = dramatiq.actor(lambda: ran.append(1), actor_name="job", queue_name="jobs", broker=broker)
    actor.send()
    db("UPDATE dramatiq.queue SET lost_workers = 2")
    db("UPDATE callboard.duties SET worker_id = %s WHERE duty_name = 'alone'", str(uuid.uuid4()))
    with running_worker(broker):
        # Then it runs, and the turn is nobody's again
        wait_until(lambda: ran, 20, "the suspect")
        free = "SELECT worker_id IS NULL FROM callboard.duties WHERE duty_name = 'alone'"
        wait_until(lambda: db(free) == [(True,)], 20, "the end of the turn")


def test_a_turn_is_given_back_although_its_connection_was_lost(database_url, db, make_pooled_broker):
    broker = make_pooled_broker(database_url)
    dramatiq.actor(lambda: None, actor_name="job", queue_name="jobs", broker=broker)
    with running_worker(broker):
        wait_until(lambda: broker.worker is not None and broker.worker.heartbeat.may_claim, 20, "registered")
        # Given a process that has the turn and loses its intake's connection, with no suspect in its own queues
        db("UPDATE callboard.duties SET worker_id = %s WHERE duty_name = 'alone'", broker.worker.worker_id)
        broker.worker.intake._is_alone = True
        db("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'callboard intake'")
        # Then others may have it
        free = "SELECT worker_id IS NULL FROM callboard.duties WHERE duty_name = 'alone'"
        wait_until(lambda: db(free) == [(True,)], 20, "the end of the turn")


def test_a_look_at_a_lock_is_not_taken_for_the_lock(database_url, db, workers):
    # Given a dead worker whose lock somebody else looks at for a moment
    worker_id = workers.register()
    with held_lock(database_url, worker_id):
        assert workers.look() == 0
    with contextlib.closing(psycopg2.connect(database_url)) as looking, looking.cursor() as cursor:
        wait_until(lambda: sessions_of(db) == 0, what="the end of its session")
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock_shared(hashtext('callboard.worker'), lock_key) FROM callboard.workers"
        )
        assert workers.look() == 1
