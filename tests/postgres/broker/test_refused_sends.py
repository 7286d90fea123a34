"""What a sender hears from a database that answers, and refuses everything for a while."""

from __future__ import annotations

import dramatiq
import pytest

from callboard.broker.copying import INSERT_BELOW
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
    monkeypatch.setattr("callboard.broker.sending.SEND_TIMEOUT_S", 2.2)
    with pytest.raises(BrokerUnavailable, match="Send it again") as caught:
        broker.enqueue(message("once"))
    refusing()
    broker.enqueue(caught.value.message)
    assert stored(db) == ["once"]
