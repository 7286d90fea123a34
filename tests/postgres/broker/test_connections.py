"""Connections of a worker process: a fixed number whatever its queues, and the warning when Postgres has too few."""

from __future__ import annotations

import contextlib
import time
from collections import Counter

import dramatiq
import psycopg2

from callboard.broker import PostgresBroker
from callboard.db import Pool
from callboard.ops.health.connections import WORKER_CONNECTIONS, read_budget
from tests.conftest import wait_until
from tests.postgres.broker.conftest import running_worker
from tests.postgres.broker.fake_workers import Workers
from tests.postgres.broker.test_order import recorder
from tests.postgres.broker.test_verdicts import ended

POOL_SIZE = 4
SESSIONS = (
    "SELECT application_name, count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name LIKE 'callboard%' GROUP BY 1"
)


def test_a_worker_of_twelve_queues_holds_no_more_connections_than_one_of_one(url, db):
    # Given a worker with more threads than its pool has connections, and twelve queues full of work that sends on
    broker = PostgresBroker(url=url, middleware=[], pool=Pool(url, size=POOL_SIZE))
    queues = [f"q{n}" for n in range(12)]
    _, actors = recorder(broker, queues)

    def forwards(n):
        with broker.pool.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.005)")
        actors[f"q{n % 12}"].send(n)

    for queue in queues:
        actors[f"to_{queue}"] = dramatiq.actor(
            forwards, broker=broker, queue_name=queue, actor_name=f"forwards_{queue}"
        )
    for n in range(240):
        actors[f"to_q{n % 12}"].send(n)
    most: Counter[str] = Counter()
    with running_worker(broker, threads=8):
        # When it works
        def look():
            for name, count in db(SESSIONS):
                most[name] = max(most[name], count)
            return len(ended(db)) == 480

        wait_until(look, 60, "everything done")
    broker.close()
    # Then it held three connections and its pool's
    own = {f"callboard {kind}": 1 for kind in ("intake", "completions", "liveness")}
    assert most == own | {"callboard": most["callboard"]}
    assert len(own) == WORKER_CONNECTIONS
    assert 1 < most["callboard"] <= POOL_SIZE


def test_the_budget_is_read_from_the_server_and_the_workers_that_live(url, db, connection):
    # Given two workers that beat, one that is long silent, and a program of somebody else
    workers = Workers(db)
    for _ in range(2):
        workers.register()
    workers.silence(workers.register(), 3600)
    with (
        contextlib.closing(psycopg2.connect(url, application_name="their report")),
        contextlib.closing(psycopg2.connect(url, application_name="callboard intake")) as ours,
    ):
        # Postgres shows one picture of the sessions within a transaction.
        ours.autocommit = True
        budget = read_budget(ours.cursor(), pool_size=10, starting=3)
        with contextlib.closing(psycopg2.connect(url)):
            more = read_budget(ours.cursor(), pool_size=10)
    # Then they are what it counts
    assert budget.worker_processes == 2 + 3
    # Sessions of tests before this one may still be ending; the two of here are there.
    assert budget.others >= 2
    assert more.others >= 3
    assert more.worker_processes == 2
    assert str(budget.max_connections) == db("SHOW max_connections")[0][0]
    assert str(budget.reserved) == db("SHOW superuser_reserved_connections")[0][0]


def test_a_worker_that_may_open_no_more_connections_goes_on_when_it_may_again(url, db):
    # Given a role with room for the worker's own three connections and none for its actors
    role = f"limited_{time.monotonic_ns()}"
    db(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 3 IN ROLE pg_read_all_data, pg_write_all_data, pg_monitor")
    limited = url.replace("postgresql://postgres@", f"postgresql://{role}@")
    broker = PostgresBroker(url=limited, middleware=[])
    failed = []

    def job():
        try:
            with broker.pool.cursor() as cursor:
                cursor.execute("SELECT 1")
        except Exception as error:
            failed.append(error)
            raise

    jobs = dramatiq.actor(job, broker=broker, queue_name="jobs")
    sender = PostgresBroker(url=url, middleware=[])
    with running_worker(broker, threads=2):
        wait_until(lambda: broker.worker.heartbeat.may_claim)
        for _ in range(10):
            sender.enqueue(jobs.message())
        wait_until(lambda: failed, what="a refused connection")
        # When there is room again
        db(f"ALTER ROLE {role} CONNECTION LIMIT 20")
        db("UPDATE dramatiq.queue SET available_at = now() WHERE state = 'queued'")
        # Then every message is done, and no slot is lost
        wait_until(lambda: len(ended(db)) == 10, 40, "everything done")
        wait_until(broker.worker.is_idle, what="nothing held")
    sender.close()
    broker.close()
    db(f"DROP ROLE {role}")
