"""What a sender hears from a database that answers, and refuses everything for a while."""

from __future__ import annotations

import uuid

import dramatiq
import psycopg2
import pytest

from callboard.broker import PostgresBroker
from callboard.broker.sending.copying import INSERT_BELOW
from callboard.errors import BrokerUnavailable


def message(*args, **options):
    return dramatiq.Message(queue_name="emails", actor_name="mail", args=args, kwargs={}, options=options)


def stored(db):
    return [row[0] for row in db("SELECT message #>> '{args,0}' FROM dramatiq.queue ORDER BY seq")]


@pytest.fixture(params=["deadlock_detected", "disk_full", "read_only_sql_transaction"])
def refusing(db, request):
    """A database that refuses every message until allow() is called."""
    db(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE {request.param}; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON dramatiq.queue FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    return lambda: db("DROP TRIGGER refuse ON dramatiq.queue")


@pytest.mark.parametrize("count", [2, 2 * INSERT_BELOW], ids=["INSERT", "COPY"])
def test_many_messages_that_the_database_refuses_for_a_while_are_carried(broker, db, refusing, count):
    # Given messages that are refused
    with pytest.raises(BrokerUnavailable, match="Send them again") as caught:
        broker.send_many(message(number) for number in range(count))
    assert caught.value.__cause__ is not None
    # When what the error carries is sent later
    refusing()
    broker.send_many(caught.value.message)
    # Then all of them are there
    assert stored(db) == [str(number) for number in range(count)]


def test_a_message_that_the_database_refuses_for_a_while_is_carried(broker, db, refusing, monkeypatch):
    monkeypatch.setattr("callboard.broker.sending.sender.SEND_TIMEOUT_S", 2.2)
    with pytest.raises(BrokerUnavailable, match="Send it again") as caught:
        broker.enqueue(message("once"))
    refusing()
    broker.enqueue(caught.value.message)
    assert stored(db) == ["once"]


@pytest.fixture
def guarded_url(url, db):
    """The database for a role that row-level security holds for, and that may send."""
    role = f"sender_{uuid.uuid4().hex[:8]}"
    db(
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA dramatiq, callboard TO {role}; "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dramatiq, callboard TO {role}; "
        "ALTER TABLE dramatiq.queue ENABLE ROW LEVEL SECURITY; "
        f"CREATE POLICY sends ON dramatiq.queue TO {role} USING (true) WITH CHECK (queue_name = 'emails')"
    )
    # The role goes with the server: to drop it may wait for autovacuum, and that for the drop.
    return psycopg2.extensions.make_dsn(url, user=role)


def test_many_messages_are_sent_under_row_level_security_too(guarded_url, db):
    # Given a role that Postgres refuses every COPY
    broker = PostgresBroker(url=guarded_url, middleware=[])
    # When it sends many messages, among them one that is there already and some with keys
    there = broker.enqueue(message("there"))
    batch = [message(number, **({"dedupe_key": str(number)} if number % 7 == 6 else {})) for number in range(200)]
    sent = broker.send_many([*batch[:100], there, *batch[100:]])
    broker.close()
    # Then all of them are there, in their order
    assert stored(db) == ["there", *(str(number) for number in range(200))]
    assert [each.message_id for each in sent if each is not there] == [each.message_id for each in batch]


def test_what_row_level_security_forbids_is_said_as_it_is(guarded_url, db):
    broker = PostgresBroker(url=guarded_url, middleware=[])
    strange = [dramatiq.Message("others", "mail", (), {}, {}) for _ in range(2 * INSERT_BELOW)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="row-level security"):
        broker.send_many(strange)
    broker.close()
    assert stored(db) == []


def test_a_message_with_a_key_that_loses_a_deadlock_is_stored_at_the_next_look(broker, db):
    # Given a database that ends the first try as a deadlock; a sequence keeps counting where a try is undone
    db(
        "CREATE SEQUENCE tries; "
        "CREATE FUNCTION lose_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('public.tries') = 1 THEN RAISE deadlock_detected; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER lose_once BEFORE INSERT ON dramatiq.queue FOR EACH ROW EXECUTE FUNCTION lose_once()"
    )
    broker.enqueue(message("keyed", dedupe_key="k"))
    assert stored(db) == ["keyed"]
