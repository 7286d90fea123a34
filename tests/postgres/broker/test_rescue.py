"""Who counts as dead, when, and what becomes of the messages it held."""

from __future__ import annotations

import contextlib
import threading
import uuid
from types import SimpleNamespace

import dramatiq
import psycopg2
import pytest

from callboard.broker.liveness.heartbeat import MAX_LOST_WORKERS, Heartbeat, unregister_parameters
from callboard.db import schema, sql
from callboard.dev.temporary_postgres import temporary_server
from callboard.terms import BEAT_OVERDUE_S, DUTY_OVERDUE_S
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import Workers, held_lock, opened


@pytest.fixture
def workers(db):
    """Fake worker processes: rows, and locks where they live."""
    return Workers(db)


@pytest.fixture
def db(url):
    with opened(url) as query:
        yield query


@pytest.fixture
def settled(db):
    """A server that has run for a while: right after its start only heartbeats count."""
    wait_until(
        lambda: db("SELECT pg_postmaster_start_time() < now() - interval '10 seconds'") == [(True,)],
        15,
        "10 s of uptime",
    )


def put(broker, **options) -> str:
    message = dramatiq.Message(queue_name="jobs", actor_name="job", args=(), kwargs={}, options=options)
    return broker.enqueue(message).message_id


def queue(db):
    return db("SELECT state, attempt, retries, lost_workers, lease_id, worker_id FROM dramatiq.queue")


def test_a_free_lock_means_death_only_at_the_second_look(broker, db, workers, settled):
    # Given a worker that died over a message
    put(broker)
    workers.claim(workers.register())
    # When the leader looks once
    assert workers.look() == 1
    # Then nothing happens yet
    assert workers.rescue() == []
    # When it looks again, 2 s later
    workers.let_two_seconds_pass()
    assert workers.look() == 1
    # Then the message waits again, the loss is counted, and the worker is forgotten
    assert workers.rescue() == [("jobs", "job", "lost", "died")]
    assert queue(db) == [("queued", 1, 0, 1, None, None)]
    assert db("SELECT attempt, outcome, error_class FROM callboard.attempts") == [(1, "lost", "LostWorker")]
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]


def test_a_worker_that_took_its_lock_back_between_the_looks_lives(broker, url, db, workers, settled):
    put(broker)
    worker_id = workers.register()
    workers.claim(worker_id)
    assert workers.look() == 1
    with held_lock(url, worker_id):
        workers.let_two_seconds_pass()
        assert workers.look() == 0
        assert workers.rescue() == []
    assert queue(db)[0][:4] == ("running", 1, 0, 0)


def test_a_free_lock_means_nothing_right_after_a_restart_of_the_database():
    # Given a database that has just come back, so that every lock is free
    with temporary_server() as server:
        url = server.recreate_database("restarted")
        schema.upgrade(url)
        with opened(url) as query:
            workers = Workers(query)
            worker_id = workers.register()
            # Then only an overdue heartbeat counts
            assert workers.look() == 0
            workers.silence(worker_id, BEAT_OVERDUE_S + 1)
            assert workers.look() == 1


def test_an_overdue_heartbeat_beats_a_held_lock(broker, url, db, workers):
    # Given a frozen worker: its lock is held, but it has not beaten
    put(broker)
    worker_id = workers.register()
    workers.claim(worker_id)
    with held_lock(url, worker_id):
        workers.silence(worker_id, BEAT_OVERDUE_S + 1)
        assert workers.look() == 1
        workers.let_two_seconds_pass()
        assert workers.rescue() == [("jobs", "job", "lost", "silent")]
    assert queue(db) == [("queued", 1, 0, 1, None, None)]


def test_a_living_workers_messages_are_never_taken(broker, url, db, workers, settled):
    put(broker)
    worker_id = workers.register()
    workers.claim(worker_id)
    with held_lock(url, worker_id):
        workers.silence(worker_id, BEAT_OVERDUE_S - 2)
        for _ in range(3):
            assert workers.look() == 0
            workers.let_two_seconds_pass()
            assert workers.rescue() == []
    assert queue(db)[0][:4] == ("running", 1, 0, 0)


def test_a_dead_worker_takes_no_other_workers_messages_along(broker, url, db, workers, settled):
    # Given one worker that lives and one that died, each with a message
    living, dead = workers.register(), workers.register()
    with held_lock(url, living):
        for worker_id in (living, dead):
            put(broker)
            workers.claim(worker_id)
        workers.look()
        workers.let_two_seconds_pass()
        # Then only the dead one's is taken
        assert len(workers.rescue()) == 1
    assert sorted(row[0] for row in queue(db)) == ["queued", "running"]
    assert db("SELECT worker_id::text FROM callboard.workers") == [(living,)]


def test_the_third_lost_worker_makes_a_dead_letter_that_keeps_every_attempt(broker, db, workers, settled):
    message_id = put(broker, dedupe_key="k")
    for loss in range(1, 4):
        workers.claim(workers.register())
        workers.look()
        workers.let_two_seconds_pass()
        [(_, _, outcome, _)] = workers.rescue()
        assert outcome == ("lost" if loss < 3 else "dead")
    assert queue(db) == []
    assert db(
        "SELECT message_id::text, reason, attempt, retries, lost_workers, dedupe_key, error_class "
        "FROM callboard.dead_letters"
    ) == [(message_id, "lost_worker", 3, 0, 3, "k", "LostWorker")]
    assert db("SELECT attempt, outcome FROM callboard.attempts ORDER BY attempt") == [(n, "lost") for n in (1, 2, 3)]
    # And its key is free again
    assert put(broker, dedupe_key="k") != message_id


def test_a_message_whose_workers_row_vanished_is_noticed_at_once(broker, db, workers):
    put(broker)
    workers.lose_row()
    assert workers.rescue() == [("jobs", "job", "lost", "unknown")]
    assert queue(db) == [("queued", 1, 0, 1, None, None)]


def test_a_worker_without_a_row_claims_nothing(broker, db, workers):
    put(broker)
    assert workers.claimed(str(uuid.uuid4())) == []
    assert queue(db)[0][:2] == ("queued", 0)


def test_two_leaders_for_a_moment_count_a_loss_once(broker, url, db, workers):
    # Given a message to rescue, which another leader is just rescuing
    put(broker)
    workers.lose_row()
    with psycopg2.connect(url) as other, other.cursor() as cursor:
        cursor.execute(sql("liveness/rescue"), {"beat_overdue_s": BEAT_OVERDUE_S, "max_lost_workers": MAX_LOST_WORKERS})
        assert workers.rescue() == []
    other.close()
    assert queue(db)[0][:4] == ("queued", 1, 0, 1)


def test_a_worker_that_registers_during_a_rescue_keeps_what_it_claims(broker, url, db, workers):
    # Given a message whose worker's row is gone, and a rescue that has begun and waits for another row
    put(broker)
    workers.lose_row()
    workers.register()
    db("UPDATE callboard.workers SET suspected_at = now() - interval '1 minute'")
    with contextlib.closing(psycopg2.connect(url)) as holder, opened(url) as other:
        holder.cursor().execute("SELECT 1 FROM callboard.workers FOR UPDATE")
        rescued = []
        rescuing = threading.Thread(target=lambda: rescued.extend(Workers(other).rescue()))
        rescuing.start()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        wait_until(lambda: db(waiting), what="the rescue waiting")
        # When the message goes back meanwhile, and a new worker claims it
        db("UPDATE dramatiq.queue SET state = 'queued', lease_id = NULL, worker_id = NULL, claimed_at = NULL")
        worker_id = workers.register()
        workers.claim(worker_id)
        holder.rollback()
        rescuing.join(10)
    # Then it stays with that one
    assert rescued == []
    assert db("SELECT state, worker_id::text, lost_workers FROM dramatiq.queue") == [("running", worker_id, 0)]


def test_a_worker_that_leaves_hands_its_running_messages_back_uncounted(broker, db, workers):
    put(broker)
    worker_id = workers.register()
    workers.claim(worker_id)
    db(sql("liveness/unregister"), **unregister_parameters(worker_id))
    assert queue(db) == [("queued", 0, 0, 0, None, None)]
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]
    assert db("SELECT count(*) FROM callboard.attempts") == [(0,)]


@pytest.fixture
def life(url):
    """A living process's liveness, with what it was told."""
    told = SimpleNamespace(forgotten=threading.Event(), rescued=[])
    worker_id = str(uuid.uuid4())
    liveness = Heartbeat(
        lambda: url,
        worker_id,
        queues=["jobs"],
        actors=[("job", "jobs", 0)],
        threads=1,
        on_rescue=lambda *what: told.rescued.append(what),
        on_forgotten=told.forgotten.set,
    )
    liveness.start()
    yield SimpleNamespace(heartbeat=liveness, worker_id=worker_id, told=told)
    liveness.stop()


def test_a_worker_that_was_taken_for_dead_registers_again(life, db, workers, settled):
    # Given a process that lives
    wait_until(lambda: life.heartbeat.may_claim, what="registered")
    # When it was taken for dead while it was cut off
    db("DELETE FROM callboard.workers WHERE worker_id = %s", life.worker_id)
    # Then it is told, and goes on under a lock of its new row
    wait_until(life.told.forgotten.is_set, what="the news")
    wait_until(lambda: life.heartbeat.may_claim, what="registered again")
    assert db("SELECT worker_id::text FROM callboard.workers") == [(life.worker_id,)]
    assert workers.look() == 0


def test_a_leader_rescues_on_its_own_and_says_so(life, broker, db, workers, settled):
    put(broker)
    workers.lose_row()
    wait_until(lambda: life.told.rescued, what="the rescue")
    assert life.told.rescued == [("jobs", "job", "lost", "unknown")]


def test_a_worker_leaves_its_own_session_that_the_network_forgot_behind(life, db, workers, settled):
    # Given a worker whose connection is lost to it, while Postgres still believes in it
    wait_until(lambda: life.heartbeat.may_claim, what="registered")
    [(before,)] = db("SELECT lock_key FROM callboard.workers")
    forgotten, life.heartbeat._connection = life.heartbeat._connection, None
    life.heartbeat._has_lock.clear()
    # Then it goes on under another lock, and nobody ends a session for that
    wait_until(lambda: life.heartbeat.may_claim, 40, what="registered again")
    assert db("SELECT lock_key <> %s FROM callboard.workers", before) == [(True,)]
    forgotten.cursor().execute("SELECT 1")
    forgotten.close()
    assert workers.look() == 0


def test_a_lock_whose_key_is_taken_is_drawn_anew(url, db, life):
    # Given a restored database, whose sequence begins anew below the keys of workers that live
    wait_until(lambda: life.heartbeat.may_claim, what="registered")
    db("ALTER TABLE callboard.workers ALTER COLUMN lock_key RESTART WITH 1")
    other = str(uuid.uuid4())
    second = Heartbeat(
        lambda: url, other, queues=[], actors=[], threads=1, on_rescue=lambda *_: None, on_forgotten=lambda: None
    )
    # When another one registers, then both have a lock of their own, and stay
    second.start()
    wait_until(lambda: second.may_claim, what="registered")
    assert db("SELECT count(DISTINCT lock_key) FROM callboard.workers") == [(2,)]
    second.stop()


def test_a_silent_leader_loses_the_lead(db, workers, life):
    # Given the lead in the hands of a worker that is frozen: its lock is held, its heartbeat late
    wait_until(lambda: life.heartbeat.leads, 20, what="the lead")
    frozen = workers.register()
    db("UPDATE callboard.workers SET holds_lock = false WHERE worker_id = %s", frozen)
    db("UPDATE callboard.duties SET worker_id = %s WHERE duty_name = 'lead'", frozen)
    wait_until(lambda: not life.heartbeat.leads, what="the change")
    # When it has been silent long enough
    workers.silence(frozen, DUTY_OVERDUE_S + 1)
    # Then another one leads
    wait_until(lambda: life.heartbeat.leads, what="the lead")


def test_a_leader_that_died_loses_the_lead_with_its_lock(url, db, workers, life):
    wait_until(lambda: life.heartbeat.leads, 20, what="the lead")
    dead = workers.register()
    with held_lock(url, dead):
        db("UPDATE callboard.duties SET worker_id = %s WHERE duty_name = 'lead'", dead)
        wait_until(lambda: not life.heartbeat.leads, what="the change")
    # Its heartbeat is not late yet
    wait_until(lambda: life.heartbeat.leads, DUTY_OVERDUE_S / 2, what="the lead")


def test_a_late_verdict_of_a_rescued_message_changes_nothing(broker, db, work):
    # Given a message that runs in a worker, while others take that worker for dead
    started, may_end = threading.Event(), threading.Event()
    runs = []

    def job():
        runs.append(1)
        if len(runs) == 1:
            started.set()
            may_end.wait(10)

    dramatiq.actor(job, broker=broker, queue_name="jobs").send()
    with work(threads=1):
        wait_until(started.is_set, what="the first run")
        db("UPDATE callboard.workers SET suspected_at = now() - interval '1 hour'")
        Workers(db).rescue()
        assert queue(db)[0][:4] == ("queued", 1, 0, 1)
        # When its first run ends after all
        may_end.set()
        # Then only the second one counts
        wait_until(lambda: db("SELECT 1 FROM callboard.message_history"), what="the end")
    assert len(runs) == 2
    assert db("SELECT attempt, lost_workers FROM callboard.message_history") == [(2, 1)]
    assert db("SELECT attempt, outcome FROM callboard.attempts") == [(1, "lost")]


def test_a_message_that_lost_two_workers_runs_alone(broker, db, work):
    # Given a message that was there when two workers died, and others that are fine
    alone, together = [], []
    running, lock = set(), threading.Lock()

    def job(name):
        with lock:
            running.add(name)
        for _ in range(10):
            with lock:
                (alone if name == "suspect" else together).append(frozenset(running))
            threading.Event().wait(0.02)
        with lock:
            running.discard(name)

    actor = dramatiq.actor(job, broker=broker, queue_name="jobs")
    for name in ("a", "b", "suspect", "c", "d"):
        actor.send(name)
    db("UPDATE dramatiq.queue SET lost_workers = 2 WHERE message #>> '{args,0}' = 'suspect'")
    # When a worker with room for all runs them
    with work(threads=8):
        wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(5,)], what="all done")
    # Then that one has its process to itself, so that it can take nobody along
    assert set(alone) == {frozenset({"suspect"})}
    assert any(len(names) > 1 for names in together)
