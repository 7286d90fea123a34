"""The broker without the rest of the service, as somebody else's actors and tools use it."""

from __future__ import annotations

import threading
import time

import dramatiq
import psycopg2.pool
import pytest
from dramatiq.errors import QueueJoinTimeout
from dramatiq.results import Results

from callboard.broker import PostgresBroker, PostgresResults, completion
from callboard.errors import ConfigurationError, SchemaOutdated
from tests.conftest import wait_until
from tests.postgres.broker.conftest import running_worker


@pytest.fixture
def broker(url):
    """A broker as its class makes it: Dramatiq's own middleware, none of ours."""
    broker = PostgresBroker(url=url)
    yield broker
    broker.close()


def declare(broker, fn, name="job", **options):
    return dramatiq.actor(fn, actor_name=name, broker=broker, queue_name="jobs", **options)


def outcomes(db):
    return sorted(outcome for (outcome,) in db("SELECT outcome FROM callboard.message_history"))


# With Dramatiq's own middleware


def test_the_default_middleware_is_dramatiqs_without_the_exporter(broker):
    names = [type(middleware).__name__ for middleware in broker.middleware]
    assert "Prometheus" not in names
    assert {"AgeLimit", "TimeLimit", "ShutdownNotifications", "Callbacks", "Pipelines", "Retries"} <= set(names)


def test_the_default_middleware_retries_calls_back_pipes_and_limits(broker, db):
    # Given actors that use every default middleware
    told, runs = [], []
    declare(broker, lambda *args: told.append(args[-1]), "told")

    def flaky():
        runs.append(1)
        if len(runs) < 3:
            raise KeyError("not yet")
        return "at last"

    def endless():
        while True:
            time.sleep(0.01)

    def broken():
        raise KeyError("boom")

    declare(broker, flaky, "flaky", min_backoff=1, max_backoff=1, on_success="told").send()
    first = declare(broker, lambda n: n + 1, "first")
    dramatiq.pipeline([first.message(1), broker.get_actor("told").message()], broker=broker).run()
    declare(broker, endless, "endless", time_limit=100, max_retries=0).send()
    declare(broker, broken, "broken", max_retries=0, on_retry_exhausted="told", on_failure="told").send()
    declare(broker, lambda: None, "old", max_age=1).send_with_options(delay=30)
    # When a worker runs; the command line starts the clock of time limits, and nobody else does
    broker.emit_after("process_boot")
    with running_worker(broker, threads=4) as worker:
        broker.join("jobs", timeout=20_000)
        worker.join()
    # Then each did its part
    assert len(runs) == 3
    expected = ["at last", 2, {"type": "KeyError", "message": "'boom'"}, {"retries": 0, "max_retries": 0}]
    assert len(told) == 4 and all(value in told for value in expected)
    assert sorted(db("SELECT actor_name FROM callboard.dead_letters")) == [("broken",), ("endless",), ("old",)]


def test_completion_works_without_a_default_broker(broker, db):
    db("CREATE TABLE effect (n int)")

    def job():
        with completion() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO effect VALUES (1)")

    declare(broker, job).send()
    with running_worker(broker):
        broker.join("jobs", timeout=10_000)
    assert db("SELECT n FROM effect") == [(1,)]


def test_results_of_somebody_elses_actors(broker):
    broker.add_middleware(Results(backend=PostgresResults()))
    sent = declare(broker, lambda n: n * 2, store_results=True).send(21)
    with running_worker(broker):
        assert sent.get_result(backend=broker.get_results_backend(), block=True) == 42


# The rest of a broker's interface


def test_counts_flush_and_join(broker, db):
    job = declare(broker, lambda: None)
    other = dramatiq.actor(lambda: None, actor_name="other", broker=broker, queue_name="others")
    for _ in range(3):
        job.send()
    job.send_with_options(delay=60_000)
    other.send()
    assert broker.get_queue_message_counts("jobs") == (3, 1, 0)
    with pytest.raises(QueueJoinTimeout):
        broker.join("jobs", timeout=50)
    broker.flush("jobs")
    assert broker.get_queue_message_counts("jobs") == (0, 0, 0)
    assert broker.get_queue_message_counts("others") == (1, 0, 0)
    broker.flush_all()
    broker.join("others", timeout=50)
    assert outcomes(db) == ["discarded"] * 5


def test_a_database_without_the_schema_is_named_with_the_command_that_helps(embedded_server):
    broker = PostgresBroker(url=embedded_server.recreate_database("no_schema"), results=True)
    job = declare(broker, lambda: None)
    sent = job.message()
    connection = psycopg2.connect(broker.pool.url)
    consumer = broker.consume("jobs", timeout=100)
    for use in (
        job.send,
        lambda: broker.send_in(connection, sent),
        lambda: broker.join("jobs"),
        lambda: broker.flush("jobs"),
        lambda: broker.get_queue_message_counts("jobs"),
        lambda: sent.get_result(backend=broker.get_results_backend()),
        lambda: next(consumer),
    ):
        with pytest.raises(SchemaOutdated, match="Run: callboard db upgrade"):
            use()
    connection.close()
    broker.close()


def test_options_of_dramatiq_pg_that_cannot_be_had_are_named(url):
    stock_pool = psycopg2.pool.ThreadedConnectionPool(0, 1, url)
    for options, says in (
        ({"url": url, "schema": "jobs"}, "schema='jobs' cannot be had"),
        ({"url": url, "prefix": "x_"}, "prefix='x_' cannot be had"),
        ({"pool": stock_pool}, "ThreadedConnectionPool, which knows no deadlines"),
        ({}, "Neither url nor pool is given"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            PostgresBroker(**options)
    PostgresBroker(url=url, schema="dramatiq", prefix="", results=False).close()


# A consumer without a worker


def test_a_consumer_without_a_worker_yields_messages(broker, db):
    # Given three messages
    job = declare(broker, lambda: None)
    sent = [job.send().message_id for _ in range(3)]
    # When they are taken by hand
    consumer, taken = broker.consume("jobs", prefetch=2, timeout=500), []
    for message in consumer:
        if message is None:
            break
        taken.append(message.message_id)
        if message.message_id == sent[0]:
            consumer.ack(message)
        elif message.message_id == sent[1]:
            consumer.nack(message)
        elif taken.count(sent[2]) == 1:
            consumer.requeue([message])
        else:
            message.fail()
            consumer.ack(message)
    # Then each has the end that it was given
    assert taken == [*sent, sent[2]]
    assert outcomes(db) == ["done"]
    assert sorted(db("SELECT message_id::text, reason, attempt FROM callboard.dead_letters")) == sorted(
        [(sent[1], "permanent", 1), (sent[2], "permanent", 1)]
    )
    consumer.close()
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]


def test_a_consumer_holds_no_more_than_it_may_and_hands_back_the_rest(broker, db):
    job = declare(broker, lambda: None)
    for _ in range(3):
        job.send()
    consumer = broker.consume("jobs", prefetch=2, timeout=300)
    held = [next(consumer), next(consumer), next(consumer)]
    assert held[2] is None
    # Its lease is kept while it holds them, whatever a leader thinks of its messages
    assert db("SELECT state, count(*) FROM dramatiq.queue GROUP BY state ORDER BY state") == [
        ("queued", 1),
        ("running", 2),
    ]
    broker.close()
    assert db("SELECT state, attempt, lost_workers FROM dramatiq.queue") == [("queued", 0, 0)] * 3


def test_a_waiting_consumer_hears_the_doorbell(broker):
    job, got = declare(broker, lambda: None), []
    consumer = broker.consume("jobs", timeout=10_000)

    def take():
        got.append(next(consumer))
        consumer.ack(got[0])

    thread = threading.Thread(target=take)
    thread.start()
    time.sleep(0.3)
    sent = job.send()
    thread.join(10)
    assert [message.message_id for message in got] == [sent.message_id]


def test_a_consumer_whose_lease_was_lost_changes_nothing(broker, db):
    declare(broker, lambda: None).send()
    consumer = broker.consume("jobs", timeout=2000)
    message = next(consumer)
    db("UPDATE dramatiq.queue SET lease_id = nextval('callboard.lease_id_seq')")
    consumer.ack(message)
    assert outcomes(db) == [] and db("SELECT state FROM dramatiq.queue") == [("running",)]


def test_a_row_that_is_no_message_does_not_stop_a_consumer(broker, db):
    db("INSERT INTO dramatiq.queue (message_id, queue_name, message) VALUES (gen_random_uuid(), 'jobs', '[1]')")
    consumer = broker.consume("jobs", timeout=500)
    assert next(consumer) is None
    wait_until(lambda: db("SELECT reason FROM callboard.dead_letters") == [("invalid",)])
