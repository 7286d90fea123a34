"""Sending many at once, in the caller's transaction, and with a dedupe key that others want too."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import UTC, datetime
from itertools import islice

import django
import django.conf
import django.db.utils
import dramatiq
import psycopg
import psycopg2
import pytest
import sqlalchemy
import sqlalchemy.orm

from callboard.broker import PostgresBroker
from callboard.broker.sending import copying
from callboard.broker.sending.copying import COPY_MAX, INSERT_BELOW, moments
from callboard.errors import BrokerUnavailable, DatabaseUnavailable, InvalidMessage
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker
from tests.postgres.broker.proxy import Proxy


def message(*args, **options):
    return dramatiq.Message(queue_name="emails", actor_name="mail", args=args, kwargs={}, options=options)


def stored(db):
    return [row[0] for row in db("SELECT message #>> '{args,0}' FROM dramatiq.queue ORDER BY seq")]


def test_many_messages_are_stored_in_their_order(broker, db):
    count = COPY_MAX + 3
    sent = broker.send_many(message(number) for number in range(count))
    assert stored(db) == [str(number) for number in range(count)]
    ids = [row[0] for row in db("SELECT message_id::text FROM dramatiq.queue ORDER BY seq")]
    assert [each.message_id for each in sent] == ids


@pytest.mark.parametrize("rest", [0, INSERT_BELOW], ids=["INSERT", "COPY"])
def test_many_messages_keep_delay_priority_and_texts_of_any_kind(broker, db, rest):
    nasty = 'quote " backslash \\ brace } comma , NULL \n tab \t ж 🎭 \\u0000 \\. \\N'
    broker.send_many([message(nasty, priority=-3), message("NULL"), *map(message, range(rest))], delay=60_000)
    [(text, priority, waits), (null, _, _), *_] = db(
        "SELECT message #>> '{args,0}', priority, available_at > now() + interval '50 s' "
        "FROM dramatiq.queue ORDER BY seq"
    )
    assert (text, priority, waits, null) == (nasty, -3, True, "NULL")


def test_many_messages_become_ready_one_after_the_other(broker, db):
    broker.send_many(map(message, range(3 * INSERT_BELOW)))
    assert db(
        "SELECT count(DISTINCT available_at), max(available_at) - min(available_at) < interval '1 s', "
        "max(available_at) < clock_timestamp() FROM dramatiq.queue"
    ) == [(3 * INSERT_BELOW, True, True)]
    in_order = "SELECT array_agg(seq ORDER BY available_at) = array_agg(seq ORDER BY seq) FROM dramatiq.queue"
    assert db(in_order) == [(True,)]


def test_moments_go_on_over_the_end_of_a_second():
    first_at = datetime(2026, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC)
    assert list(islice(moments(first_at), 4)) == [
        "2026-12-31 23:59:59.999998+00",
        "2026-12-31 23:59:59.999999+00",
        "2027-01-01 00:00:00.000000+00",
        "2027-01-01 00:00:00.000001+00",
    ]


@pytest.mark.parametrize("place", [0, INSERT_BELOW, COPY_MAX - 1, COPY_MAX])
def test_an_id_that_is_there_already_among_many_changes_nothing(broker, db, monkeypatch, place):
    # Given one of many messages that is there already, at the edges of what one COPY takes
    monkeypatch.setattr(copying, "COPY_MAX", count := 2 * INSERT_BELOW)
    batch = [message(number) for number in range(count + INSERT_BELOW)]
    there = batch[min(place, count)]
    broker.enqueue(there)
    # When all are sent
    sent = broker.send_many(batch)
    # Then each is there once, in order but for that one
    rest = [each.args[0] for each in batch if each is not there]
    assert stored(db) == [str(number) for number in (there.args[0], *rest)]
    assert [each.message_id for each in sent] == [each.message_id for each in batch]


def test_keys_repeats_and_plain_messages_are_stored_in_their_order(broker, db, monkeypatch):
    monkeypatch.setattr(copying, "INSERT_MAX", 10)
    batch = [message(number, **({"dedupe_key": str(number)} if number % 40 == 39 else {})) for number in range(300)]
    for repeated in batch[70::70]:
        object.__setattr__(repeated, "may_be_stored", True)
    broker.send_many(batch)
    assert stored(db) == [str(number) for number in range(300)]


OWN_FAILURES = [
    ValueError("no order"),
    KeyboardInterrupt(),
    # The same as what the queue's own database may raise.
    psycopg2.errors.DeadlockDetected("of the orders"),
    psycopg2.errors.UndefinedTable("orders"),
    psycopg2.InterfaceError("the connection to the orders is closed"),
    TimeoutError("the shop does not answer"),
    DatabaseUnavailable("the orders"),
]


@pytest.mark.parametrize("failure", OWN_FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("count", [1, 2 * INSERT_BELOW], ids=["INSERT", "COPY"])
def test_what_making_a_message_raises_reaches_the_sender_as_it_is(broker, db, failure, count):
    cause = KeyError("why")

    def messages():
        yield from map(message, range(count))
        raise failure from cause

    with pytest.raises(type(failure)) as caught:
        broker.send_many(messages())
    assert caught.value is failure and failure.__cause__ is cause and stored(db) == []
    # And the connection is as good as before.
    broker.send_many(map(message, range(INSERT_BELOW)))
    assert len(stored(db)) == INSERT_BELOW


@pytest.mark.parametrize("place", [0, INSERT_BELOW + 1])
def test_of_many_messages_all_are_stored_or_none(broker, db, place):
    batch = [message(number) for number in range(INSERT_BELOW + 10)]
    batch[place] = message("\x00")
    with pytest.raises(InvalidMessage, match=batch[place].message_id):
        broker.send_many(batch)
    assert stored(db) == []
    assert broker.send_many([]) == []


def test_an_id_that_is_there_already_does_not_hide_what_cannot_be_made(broker, db):
    # Given a batch whose first message is there already, which the server says while later ones are being made
    batch = [message(number) for number in range(3_000)]
    broker.enqueue(batch[0])
    batch[2_500] = message("\x00")
    # When it is sent
    with pytest.raises(InvalidMessage, match=batch[2_500].message_id):
        broker.send_many(batch)
    # Then none of the others is stored
    assert stored(db) == ["0"]


def test_what_postgres_alone_can_refuse_is_an_invalid_message_too(broker, db):
    batch = [message("good"), dramatiq.Message("emails", "mail", (), {}, {}, message_id="no-uuid")]
    with pytest.raises(InvalidMessage, match=r"One of 2 messages cannot be stored: .*no-uuid"):
        broker.send_many(batch)
    assert stored(db) == []


def test_many_messages_with_one_dedupe_key_are_the_first_of_them(broker, db):
    first = broker.enqueue(message("there", dedupe_key="k"))
    sent = broker.send_many(
        [message("a"), message("b", dedupe_key="k"), message("c", dedupe_key="new"), message("d", dedupe_key="new")]
    )
    assert stored(db) == ["there", "a", "c"]
    assert sent[1].message_id == first.message_id
    assert sent[3].message_id == sent[2].message_id != first.message_id


@pytest.mark.parametrize("count", [2, 2 * INSERT_BELOW], ids=["few", "many"])
def test_many_messages_sent_again_after_their_answer_was_lost_run_once(url, db, count):
    # Given a batch that was stored, but the answer to its commit never came, and a part of which is done meanwhile
    with Proxy(url) as proxy:
        remote = make_broker(proxy.url)
        remote.enqueue(message("warm-up"))
        db("DELETE FROM dramatiq.queue")
        done = (
            "WITH done AS (DELETE FROM dramatiq.queue WHERE message #>> '{args,0}' = 'a' RETURNING *) "
            "INSERT INTO callboard.message_history (message_id, outcome, queue_name, message, priority, attempt, "
            "retries, lost_workers, generation, enqueued_at, available_at) "
            "SELECT message_id, 'done', queue_name, message, 0, 1, 0, 0, 0, now(), now() FROM done"
        )
        proxy.lose_next_answer(lambda: db(done), to=b"COMMIT")
        messages = [message("a"), *(message(f"b{number}") for number in range(1, count))]
        # When few are sent, they are tried again as one is; when many, what the error carries is sent again
        try:
            again = remote.send_many(messages)
            assert count < INSERT_BELOW
        except BrokerUnavailable as error:
            assert count > INSERT_BELOW
            again = remote.send_many(error.message)
        remote.close()
    # Then nothing of it is there twice
    assert sorted(stored(db)) == sorted(f"b{number}" for number in range(1, count))
    assert [each.args[0] for each in again] == [each.args[0] for each in messages]
    assert db("SELECT count(*) FROM callboard.message_history") == [(1,)]


@pytest.mark.parametrize("place", [INSERT_BELOW, 3 * INSERT_BELOW], ids=["before the first part", "in the middle"])
def test_when_the_database_goes_away_the_error_carries_every_message(broker, db, place):
    # Given a database that ends the session while the messages are made, at the given one
    def messages():
        for number in range(40 * INSERT_BELOW):
            if number == place:
                db(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'callboard' AND datname = current_database()"
                )
            yield message(number)

    # When they are sent, and then what the error carries
    with pytest.raises(BrokerUnavailable) as caught:
        broker.send_many(messages())
    broker.send_many(caught.value.message)
    # Then all of them are there
    assert stored(db) == [str(number) for number in range(40 * INSERT_BELOW)]


@pytest.mark.parametrize("many", [False, True])
def test_a_message_sent_again_while_its_verdict_is_being_written_runs_once(broker, url, db, many):
    # Given a message whose first send had no answer, and a worker that is about to commit its end
    sent = broker.enqueue(message("once"))
    object.__setattr__(sent, "may_be_stored", True)
    with contextlib.closing(psycopg2.connect(url)) as worker:
        worker.cursor().execute(
            "WITH done AS (DELETE FROM dramatiq.queue RETURNING *) INSERT INTO callboard.message_history (message_id, "
            "outcome, queue_name, message, priority, attempt, retries, lost_workers, generation, enqueued_at, "
            "available_at) SELECT message_id, 'done', queue_name, message, 0, 1, 0, 0, 0, now(), now() FROM done"
        )
        # When it is sent again, which waits for that commit
        sending = threading.Thread(target=lambda: broker.send_many([sent]) if many else broker.enqueue(sent))
        sending.start()
        wait_until(
            lambda: db(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            ),
            what="the second send waiting",
        )
        worker.commit()
        sending.join(10)
    # Then it is not stored a second time
    assert stored(db) == []
    assert db("SELECT count(*) FROM callboard.message_history") == [(1,)]


def test_32_racing_senders_of_one_dedupe_key_store_one_message_at_a_time(url, db):
    # Given a worker that ends the message again and again while 32 threads of two brokers send it
    brokers, ids, ended = [make_broker(url), make_broker(url)], [], set()
    start = threading.Barrier(33)

    def send(number: int) -> None:
        start.wait()
        ids.extend(brokers[number % 2].enqueue(message(number, dedupe_key="k")).message_id for _ in range(5))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    start.wait()
    while any(thread.is_alive() for thread in threads):
        rows = db("SELECT message_id::text FROM dramatiq.queue")
        assert len(rows) <= 1
        ended |= {row[0] for row in db("DELETE FROM dramatiq.queue RETURNING message_id::text")}
    for broker in brokers:
        broker.close()
    # Then every send was told an id that was stored
    left = {row[0] for row in db("SELECT message_id::text FROM dramatiq.queue")}
    assert len(ids) == 160
    assert set(ids) <= ended | left


@pytest.mark.parametrize("many", [False, True])
def test_a_dedupe_key_in_an_open_transaction_is_waited_for_and_then_named(broker, url, db, many):
    # Given a transaction that has sent the key and stays open
    with contextlib.closing(psycopg2.connect(url)) as holder:
        [held] = broker.send_in(holder, message("first", dedupe_key="k"))
        # When another sends it, too
        begun = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="dedupe_key 'k' is still open"):
            broker.send_many([message(dedupe_key="k")]) if many else broker.enqueue(message(dedupe_key="k"))
        assert time.monotonic() - begun < 4.5
        # Then it gets the first one's id as soon as that one is committed
        holder.commit()
    assert broker.enqueue(message(dedupe_key="k")).message_id == held.message_id
    assert stored(db) == ["first"]


def test_a_sender_behind_an_open_transaction_gets_the_place_when_that_one_rolls_back(broker, url, db):
    with contextlib.closing(psycopg2.connect(url)) as holder:
        broker.send_in(holder, message("first", dedupe_key="k"))
        sent = []
        thread = threading.Thread(target=lambda: sent.append(broker.enqueue(message("second", dedupe_key="k"))))
        thread.start()
        holder.rollback()
        thread.join(10)
    assert stored(db) == ["second"]
    assert db("SELECT message_id::text FROM dramatiq.queue") == [(sent[0].message_id,)]


def test_two_transactions_with_one_dedupe_key_end_in_a_clear_error(broker, url, db):
    with contextlib.closing(psycopg2.connect(url)) as holder, contextlib.closing(psycopg2.connect(url)) as other:
        broker.send_in(holder, message("first", dedupe_key="k"))
        with pytest.raises(BrokerUnavailable, match="dedupe_key 'k'"):
            broker.send_in(other, message("second", dedupe_key="k"))
        other.rollback()
        holder.commit()
    assert stored(db) == ["first"]


def test_send_in_leaves_the_callers_lock_timeout_as_it_was(broker, url):
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '7s'")
        broker.send_in(connection, message(dedupe_key="k"))
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("7s",)


def test_under_repeatable_read_a_key_is_found_or_the_transaction_fails_to_serialize(broker, url, db):
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ")
        # Given a key that is there before the transaction begins: its id is returned
        first = broker.enqueue(message("first", dedupe_key="old"))
        [sent] = broker.send_in(connection, message("second", dedupe_key="old"))
        assert sent.message_id == first.message_id
        # When a key is taken after the transaction's first look, Postgres asks to run the transaction again
        broker.enqueue(message("third", dedupe_key="new"))
        with pytest.raises(psycopg2.errors.SerializationFailure):
            broker.send_in(connection, message("fourth", dedupe_key="new"))
        connection.rollback()
        # Then the second run finds it
        [again] = broker.send_in(connection, message("fourth", dedupe_key="new"))
        connection.commit()
    assert stored(db) == ["first", "third"]
    assert again.message_id != sent.message_id


def test_our_own_connections_read_committed_whatever_the_database_says(url, db):
    [(name,)] = db("SELECT current_database()")
    db(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'")
    broker = make_broker(url)
    with broker.pool.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone() == ("read committed",)
    broker.close()


def test_send_in_takes_the_connections_of_every_driver(broker, url, db):
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg2://", creator=lambda: psycopg2.connect(url), poolclass=sqlalchemy.NullPool
    )
    with engine.begin() as connection:
        broker.send_in(connection, message("sqlalchemy"))
    with sqlalchemy.orm.Session(engine) as session, session.begin():
        broker.send_in(session, message("session", dedupe_key="k"))
    with psycopg.connect(url) as connection:
        broker.send_in(connection, message("psycopg 3"), message("twice", dedupe_key="k"))
    with django_connection(url) as connection:
        broker.send_in(connection, message("django"), message("twice", dedupe_key="k"))
    assert stored(db) == ["sqlalchemy", "session", "psycopg 3", "django"]


def test_a_held_dedupe_key_is_named_through_every_driver(broker, url, db):
    with contextlib.closing(psycopg2.connect(url)) as holder:
        broker.send_in(holder, message("first", dedupe_key="k"))
        with pytest.raises(BrokerUnavailable, match="'k'"), psycopg.connect(url) as connection:
            broker.send_in(connection, message(dedupe_key="k"))
        with pytest.raises(BrokerUnavailable, match="'k'"), django_connection(url) as connection:
            broker.send_in(connection, message(dedupe_key="k"))


@contextlib.contextmanager
def django_connection(url: str):
    """Lend a connection of Django's to the test's database, inside a transaction that commits."""
    if not django.conf.settings.configured:
        django.conf.settings.configure()
        django.setup()
    parts = psycopg2.extensions.parse_dsn(url)
    engine = {"ENGINE": "django.db.backends.postgresql", "NAME": parts["dbname"], "USER": parts["user"]}
    connection = django.db.utils.ConnectionHandler({"default": {**engine, "HOST": parts["host"]}})["default"]
    try:
        connection.set_autocommit(False)
        yield connection
        connection.commit()
    finally:
        connection.close()


def test_a_pooler_that_shares_sessions_is_no_obstacle_to_sending(broker: PostgresBroker, db):
    broker.enqueue(message("first"))
    # Given a session from which somebody else has dropped our prepared statement
    with broker.pool.statement() as cursor:
        cursor.execute("DISCARD ALL")
    broker.enqueue(message("second"))
    # And one on which it stands already, although this process has not prepared it there
    with broker.pool.statement() as cursor:
        assert cursor.connection.prepared_names == set()
    broker.enqueue(message("third"))
    with broker.pool.statement() as cursor:
        cursor.connection.prepared_names.clear()
    broker.enqueue(message("fourth"))
    assert stored(db) == ["first", "second", "third", "fourth"]
