"""A database that plain dramatiq-pg 0.12 filled: nothing of it is lost, and its producers go on sending."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq
import dramatiq_pg
import psycopg2
import pytest

from callboard.broker import PostgresBroker
from callboard.db import schema
from tests.conftest import fresh_database, wait_until
from tests.postgres.broker.conftest import make_broker, running_worker


def stock_schema() -> str:
    """Return dramatiq-pg's own schema without psql's variables, which only psql knows."""
    text = importlib.resources.files("dramatiq_pg").joinpath("schema.sql").read_text()
    values = dict(re.findall(r"^\\set (\w+) '(\w+)'$", text, re.MULTILINE))
    text = re.sub(r"^\\set.*$", "", text, flags=re.MULTILINE)
    return re.sub(r':"(\w+)"', lambda name: values[name[1]], text)


def open_db(url: str) -> tuple[Any, Callable[..., list[Any]]]:
    connection = psycopg2.connect(url)
    connection.autocommit = True

    def query(statement: str, *parameters: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    return connection, query


def stock_message(name: str, queue_name: str = "jobs", **options: Any) -> tuple[str, str]:
    message_id = str(uuid.uuid4())
    message = {
        "queue_name": queue_name,
        "actor_name": "job",
        "args": [name],
        "kwargs": {},
        "options": options,
        "message_id": message_id,
        "message_timestamp": 1,
    }
    return message_id, json.dumps(message)


@pytest.fixture(params=["embedded", "system"])
def stock_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database as `psql < schema.sql` of dramatiq-pg leaves it."""
    server = request.getfixturevalue(f"{request.param}_server")
    if server is None:
        pytest.skip("no Postgres of the system is installed; the embedded one ran this test")
    with fresh_database(server) as url:
        with contextlib.closing(psycopg2.connect(url)) as connection:
            connection.cursor().execute(stock_schema())
            connection.commit()
        yield url


@pytest.fixture
def stock_db(stock_url):
    connection, query = open_db(stock_url)
    yield query
    connection.close()


@pytest.fixture
def runs(stock_url):
    """Migrate, then collect what our worker runs."""
    schema.upgrade(stock_url)
    broker, ran = make_broker(stock_url), []
    dramatiq.actor(ran.append, actor_name="job", broker=broker, queue_name="jobs")
    with running_worker(broker):
        yield ran
    broker.close()


@pytest.fixture
def producer(stock_url):
    """A service that knows nothing of Callboard."""
    broker = dramatiq_pg.PostgresBroker(url=stock_url, results=False, middleware=[])
    yield broker
    broker.pool.closeall()


def put(query: Callable[..., list[Any]], state: str, message: tuple[str, str], queue_name: str = "jobs") -> str:
    query(
        "INSERT INTO dramatiq.queue (message_id, queue_name, state, message) VALUES (%s, %s, %s, %s)",
        message[0],
        queue_name,
        state,
        message[1],
    )
    return message[0]


def test_every_stock_message_has_its_place_after_the_migration(stock_url, stock_db):
    # Given rows in every state that dramatiq-pg knows
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    eta = int(in_an_hour.timestamp() * 1000)
    queued = put(stock_db, "queued", stock_message("queued"))
    consumed = put(stock_db, "consumed", stock_message("consumed"))
    retried = put(stock_db, "queued", stock_message("retried", retries=4, traceback="Traceback …"))
    done = put(stock_db, "done", stock_message("done"))
    rejected = put(stock_db, "rejected", stock_message("rejected", retries=3, traceback="Traceback: boom"))
    delayed = put(stock_db, "queued", stock_message("delayed", "jobs.DQ", eta=eta), "jobs.DQ")
    held = put(stock_db, "consumed", stock_message("held", "jobs.DQ", eta=eta, retries=2), "jobs.DQ")
    moved_on = put(stock_db, "done", stock_message("moved on", "jobs.DQ", eta=1), "jobs.DQ")
    # When it becomes Callboard's
    assert schema.upgrade(stock_url) == schema.REVISION
    # Then what can still run waits, at its time, in its queue, with the retries it had
    rows = {
        row[0]: row[1:]
        for row in stock_db(
            "SELECT message_id::text, queue_name, state, available_at > now() + interval '59 minutes', retries, "
            "message ->> 'queue_name', message #>> '{options,eta}', actor_name FROM dramatiq.queue"
        )
    }
    assert rows == {
        queued: ("jobs", "queued", False, 0, "jobs", None, "job"),
        consumed: ("jobs", "queued", False, 0, "jobs", None, "job"),
        retried: ("jobs", "queued", False, 4, "jobs", None, "job"),
        delayed: ("jobs", "queued", True, 0, "jobs", None, "job"),
        held: ("jobs", "queued", True, 2, "jobs", None, "job"),
    }
    # And what has ended is kept where ended messages are
    assert stock_db(
        "SELECT message_id::text, outcome, queue_name FROM callboard.message_history ORDER BY queue_name"
    ) == [
        (done, "done", "jobs"),
        (moved_on, "done", "jobs"),
    ]
    assert stock_db("SELECT message_id::text, reason, retries, traceback FROM callboard.dead_letters") == [
        (rejected, "max_retries", 3, "Traceback: boom")
    ]


def test_a_row_without_a_state_is_kept(stock_url, stock_db):
    # Given what dramatiq-pg's table allows, though it never writes it
    message_id, message = stock_message("by hand")
    stock_db("INSERT INTO dramatiq.queue (message_id, message) VALUES (%s, %s)", message_id, message)
    schema.upgrade(stock_url)
    assert stock_db(
        "SELECT message_id::text FROM dramatiq.queue UNION ALL SELECT message_id::text FROM callboard.dead_letters"
    ) == [(message_id,)]


def test_a_row_without_a_message_stops_nobody(stock_url, stock_db):
    # Given a row that nobody can run, in front of one that is fine
    stock_db("INSERT INTO dramatiq.queue (message_id, queue_name, state) VALUES (gen_random_uuid(), 'jobs', 'queued')")
    put(stock_db, "queued", stock_message("fine"))
    # When our worker takes over
    schema.upgrade(stock_url)
    broker, ran = make_broker(stock_url), []
    dramatiq.actor(ran.append, actor_name="job", broker=broker, queue_name="jobs")
    with running_worker(broker):
        # Then it runs the one that is fine, and goes on working
        wait_until(lambda: ran == ["fine"], what="the run")
        assert broker.worker is not None
        assert broker.worker.stalled() is None
    broker.close()


@pytest.mark.parametrize("eta", [None, 1_700_000_000_000.5])
def test_a_delayed_message_with_an_odd_eta_is_not_lost(stock_url, stock_db, eta):
    # A delay such as 1.5 * 1000 makes dramatiq write a fraction.
    options = {} if eta is None else {"eta": eta}
    message_id = put(stock_db, "queued", stock_message("odd", "jobs.DQ", **options), "jobs.DQ")
    schema.upgrade(stock_url)
    assert stock_db("SELECT message_id::text, queue_name FROM dramatiq.queue") == [(message_id, "jobs")]


def test_stock_messages_that_waited_run_after_the_migration(stock_url, stock_db):
    put(stock_db, "queued", stock_message("queued"))
    put(stock_db, "consumed", stock_message("consumed"))
    put(stock_db, "queued", stock_message("delayed", "jobs.DQ", eta=1), "jobs.DQ")
    schema.upgrade(stock_url)
    broker, ran = make_broker(stock_url), []
    dramatiq.actor(ran.append, actor_name="job", broker=broker, queue_name="jobs")
    with running_worker(broker):
        wait_until(lambda: len(ran) == 3, what="three runs")
    broker.close()
    assert sorted(ran) == ["consumed", "delayed", "queued"]


def test_an_unchanged_stock_producer_goes_on_sending(runs, producer, stock_db):
    # Given a service with plain dramatiq-pg, which sends now and for later
    job = dramatiq.actor(lambda _: None, actor_name="job", broker=producer, queue_name="jobs")
    job.send("now")
    job.send_with_options(args=("later",), delay=300)
    job.send_with_options(args=("much later",), delay=timedelta(milliseconds=600))
    # Then our worker runs all, each at its time and none before
    wait_until(lambda: len(runs) == 3, what="three runs")
    assert runs == ["now", "later", "much later"]
    wait_until(lambda: stock_db("SELECT count(*) FROM callboard.message_history") == [(3,)], what="the history")
    assert stock_db(
        "SELECT DISTINCT queue_name, message ->> 'queue_name', started_at >= available_at "
        "FROM callboard.message_history"
    ) == [("jobs", "jobs", True)]


def test_a_stock_delay_that_is_no_whole_number_is_taken(runs, stock_db):
    # What send_with_options(delay=0.05 * 1000) stores; sent for real, a refusal would be tried again for minutes.
    eta = datetime.now(UTC).timestamp() * 1000 + 50.5
    put(stock_db, "queued", stock_message("a", "jobs.DQ", eta=eta), "jobs.DQ")
    wait_until(lambda: runs == ["a"], what="the run")


def test_a_stock_message_that_is_too_large_for_its_doorbell_runs(runs, producer):
    job = dramatiq.actor(lambda _: None, actor_name="job", broker=producer, queue_name="jobs")
    job.send("x" * 20_000)
    wait_until(lambda: runs, what="the run")
    assert len(runs[0]) == 20_000


@pytest.mark.parametrize("delay", [None, 60_000])
def test_a_stock_retry_of_a_running_message_changes_nothing(stock_url, stock_db, producer, delay):
    # Given a message that runs under a lease of ours
    schema.upgrade(stock_url)
    ours = PostgresBroker(url=stock_url, middleware=[])
    message = ours.enqueue(dramatiq.Message(queue_name="jobs", actor_name="job", args=("a",), kwargs={}, options={}))
    ours.close()
    stock_db("UPDATE dramatiq.queue SET state = 'running', lease_id = 7, worker_id = gen_random_uuid(), attempt = 1")
    before = stock_db("SELECT * FROM dramatiq.queue")
    # When a stock worker's retry middleware writes it once more
    producer.enqueue(message.copy(args=("changed",), options={"retries": 1}), delay=delay)
    # Then nothing has changed: whoever holds the lease decides
    assert stock_db("SELECT * FROM dramatiq.queue") == before


def test_a_stock_worker_started_by_mistake_takes_nothing(stock_url, stock_db, producer):
    # Given one message that waits and one that runs
    schema.upgrade(stock_url)
    put(stock_db, "queued", stock_message("waits"))
    running = stock_message("runs")
    put(stock_db, "queued", running)
    stock_db(
        "UPDATE dramatiq.queue SET state = 'running', lease_id = 7, worker_id = gen_random_uuid() "
        "WHERE message_id = %s",
        running[0],
    )
    # When a stock consumer looks for pending messages
    consumer = producer.consume("jobs", prefetch=10, timeout=100)
    with pytest.raises(Exception, match="consumed"):
        next(consumer)
    # Then both are as they were
    assert sorted(stock_db("SELECT state FROM dramatiq.queue")) == [("queued",), ("running",)]
