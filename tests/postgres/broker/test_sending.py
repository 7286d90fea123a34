"""Sending: one row, stored once, or a clear error; nothing in between."""

from __future__ import annotations

import select
import socket
import threading
import uuid

import dramatiq
import psycopg2
import pytest
import sqlalchemy
import sqlalchemy.orm

from callboard.broker import PostgresBroker
from callboard.broker.sending.row import MESSAGE_BYTES_MAX
from callboard.errors import BrokerUnavailable, DramatiqConnectionError, InvalidMessage
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker
from tests.postgres.broker.proxy import Proxy


def message(*args, **options):
    return dramatiq.Message(queue_name="emails", actor_name="mail", args=args, kwargs={}, options=options)


def test_a_message_is_one_row(broker, db):
    sent = broker.enqueue(message("a", priority=3))
    rows = db(
        "SELECT message_id::text, queue_name, actor_name, state, priority, message #>> '{args,0}' FROM dramatiq.queue"
    )
    assert rows == [(sent.message_id, "emails", "mail", "queued", 3, "a")]


def test_an_actors_priority_counts_where_the_message_has_none(broker, db):
    mail = dramatiq.actor(lambda: None, actor_name="mail", queue_name="emails", priority=7, broker=broker)
    mail.send()
    assert db("SELECT priority FROM dramatiq.queue") == [(7,)]


def test_a_delayed_message_waits_in_its_own_queue(broker, db):
    broker.enqueue(message(), delay=60_000)
    [(queue, seconds)] = db("SELECT queue_name, extract(epoch FROM available_at - now())::float FROM dramatiq.queue")
    assert queue == "emails" and 50 < seconds <= 60


def test_a_known_id_changes_nothing(broker, db):
    sent = broker.enqueue(message("first"))
    broker.enqueue(sent.copy(args=("second",)))
    assert db("SELECT message #>> '{args,0}' FROM dramatiq.queue") == [("first",)]


def test_a_dedupe_key_returns_the_first_id(broker, db):
    first = broker.enqueue(message("a", dedupe_key="k"))
    second = broker.enqueue(message("b", dedupe_key="k"))
    assert second.message_id == first.message_id
    assert db("SELECT count(*) FROM dramatiq.queue") == [(1,)]


def test_racing_senders_of_one_dedupe_key_store_one_message(broker, db):
    ids = []
    threads = [
        threading.Thread(target=lambda: ids.append(broker.enqueue(message(dedupe_key="k")).message_id))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 16 and len(set(ids)) == 1
    assert db("SELECT count(*) FROM dramatiq.queue") == [(1,)]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (message("\x00"), "cannot be stored"),
        (message("\ud800"), "cannot be stored"),
        (message({1, 2}), "no JSON"),
        (message("x" * MESSAGE_BYTES_MAX), "limit is"),
        (message(priority="high"), "priority 'high'"),
        (message(dedupe_key=""), "dedupe_key ''"),
    ],
)
def test_a_message_that_cannot_be_stored_fails_at_once(broker, db, bad, says):
    with pytest.raises(InvalidMessage, match=says):
        broker.enqueue(bad)
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]


def test_what_middleware_adds_before_sending_is_stored(url, db):
    class Stamp(dramatiq.Middleware):
        def before_enqueue(self, broker, message, delay):
            message.options["trace"] = "t1"

    broker = make_broker(url, Stamp())
    broker.enqueue(message())
    broker.close()
    assert db("SELECT message #>> '{options,trace}' FROM dramatiq.queue") == [("t1",)]


def test_send_in_shares_the_callers_fate(broker, url, db):
    with psycopg2.connect(url) as connection:
        broker.send_in(connection, message("a"), message("b"))
        connection.rollback()
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]
    with psycopg2.connect(url) as connection:
        broker.send_in(connection, message("a"), message("b"))
    assert db("SELECT count(*) FROM dramatiq.queue") == [(2,)]
    connection.close()


def test_send_in_takes_sqlalchemys_connections_and_sessions(broker, url, db):
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg2://", creator=lambda: psycopg2.connect(url), poolclass=sqlalchemy.NullPool
    )
    with engine.begin() as connection:
        broker.send_in(connection, message())
    with sqlalchemy.orm.Session(engine) as session, session.begin():
        broker.send_in(session, message())
    assert db("SELECT count(*) FROM dramatiq.queue") == [(2,)]


def test_without_a_database_send_fails_and_carries_the_message():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    broker = PostgresBroker(url=f"postgresql://nobody@127.0.0.1:{port}/none", middleware=[])
    sent = message()
    with pytest.raises(BrokerUnavailable, match="Send it again") as caught:
        broker.enqueue(sent)
    assert caught.value.message is sent
    assert isinstance(caught.value, DramatiqConnectionError)


def test_a_network_that_swallows_everything_is_noticed(broker, url, db, monkeypatch):
    # Given a connection through a proxy that acknowledges every packet
    monkeypatch.setattr("callboard.broker.sending.sender.SEND_TIMEOUT_S", 2.5)
    with Proxy(url) as proxy:
        remote = make_broker(proxy.url)
        remote.enqueue(message("before"))
        # When it forwards nothing any more
        proxy.is_silent = True
        with pytest.raises(BrokerUnavailable):
            remote.enqueue(message("meanwhile"))
        # Then sending works again as soon as the network does
        proxy.is_silent = False
        remote.enqueue(message("after"))
        remote.close()
    assert {row[0] for row in db("SELECT message #>> '{args,0}' FROM dramatiq.queue")} >= {"before", "after"}


def test_a_send_whose_answer_was_lost_does_not_run_twice(url, db):
    # Given a send that was stored, but its answer never came, and that was done meanwhile
    with Proxy(url) as proxy:
        remote = make_broker(proxy.url)
        remote.enqueue(message("warm-up"))
        db("DELETE FROM dramatiq.queue")
        proxy.lose_next_answer(
            lambda: db(
                "WITH done AS (DELETE FROM dramatiq.queue RETURNING *) INSERT INTO callboard.message_history "
                "(message_id, outcome, queue_name, message, priority, attempt, retries, lost_workers, generation, "
                "enqueued_at, available_at) "
                "SELECT message_id, 'done', queue_name, message, 0, 1, 0, 0, 0, now(), now() FROM done"
            ),
            to=b"EXECUTE callboard_enqueue_new",
        )
        # When send repeats it by itself
        remote.enqueue(message("once"))
        remote.close()
    # Then it is not stored a second time
    assert db("SELECT count(*) FROM callboard.message_history") == [(1,)]
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]


def test_a_burst_rings_the_doorbell_at_once_and_at_its_end(broker, url):
    listener = psycopg2.connect(url)
    listener.autocommit = True
    listener.cursor().execute("LISTEN callboard")
    broker.enqueue(message())
    for _ in range(30):
        broker.enqueue(message())
    rings = []

    def heard():
        if select.select([listener], [], [], 0.05)[0]:
            listener.poll()
        while listener.notifies:
            rings.append(listener.notifies.pop())
        return len(rings) >= 2

    wait_until(heard, what="the second ring")
    assert len(rings) < 31
    listener.close()


def test_flush_discards_what_waits_and_keeps_it_in_the_history(broker, db):
    broker.declare_queue("emails")
    broker.enqueue(message())
    broker.flush_all()
    assert db("SELECT outcome FROM callboard.message_history") == [("discarded",)]
    assert broker.get_queue_message_counts("emails") == (0, 0, 0)


def test_a_broker_opens_no_connection_before_its_first_use():
    asked = []
    broker = PostgresBroker(url=lambda: asked.append("url") or "", middleware=[])
    broker.declare_queue("emails")
    broker.close()
    assert asked == []


def test_message_ids_are_uuids(broker):
    assert uuid.UUID(broker.enqueue(message()).message_id)
