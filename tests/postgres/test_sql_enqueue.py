"""callboard.enqueue(): what a service in any language calls, here through plain psycopg2."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dramatiq
import psycopg2
import pytest
from psycopg2 import errors

from callboard.broker import PostgresBroker, current_delivery
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker


@pytest.fixture
def url(each_database_url):
    return each_database_url


@pytest.fixture
def db(url):
    connection = psycopg2.connect(url)
    connection.autocommit = True

    def query(statement, *parameters):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    yield query
    connection.close()


@pytest.fixture
def broker(url):
    broker = make_broker(url)
    yield broker
    broker.close()


@pytest.fixture
def known(db):
    """An actor "ship" of queue "orders", as a worker registers it."""
    db("INSERT INTO callboard.actors (actor_name, queue_name, priority) VALUES ('ship', 'orders', 7)")


def test_an_actor_that_a_worker_registered_runs_with_what_sql_sent(broker, db):
    # Given a worker with an actor, and its registration
    got = []
    ship = dramatiq.actor(
        lambda *args, **kwargs: got.append((args, kwargs, current_delivery().message_id)),
        actor_name="ship",
        broker=broker,
        queue_name="orders",
    )
    with running_worker(broker):
        wait_until(lambda: db("SELECT 1 FROM callboard.actors WHERE actor_name = 'ship'"))
        # When it is called from SQL
        [(sent_id,)] = db(
            """SELECT callboard.enqueue(actor => 'ship', kwargs => '{"to": "ä"}', args => '[1, [2], null]')"""
        )
        # Then it runs, with these arguments, under the id that was returned
        wait_until(lambda: got)
    assert got == [((1, [2], None), {"to": "ä"}, sent_id)]
    assert ship.queue_name == "orders"


def test_the_stored_message_has_the_form_of_dramatiqs_own(broker, db, known):
    # Given the same call from Python
    ship = dramatiq.actor(lambda **_: None, actor_name="ship", broker=broker, queue_name="orders", priority=7)
    ship.send_with_options(kwargs={"to": "a"}, priority=3, dedupe_key="k")
    [(python, *python_columns)] = db(
        "DELETE FROM dramatiq.queue RETURNING message, queue_name, priority, dedupe_key, state, actor_name"
    )
    # When it is made from SQL
    [(sent_id,)] = db("""SELECT callboard.enqueue('ship', '{"to": "a"}', priority => 3, dedupe_key => 'k')::text""")
    [(message, *columns)] = db(
        "SELECT message, queue_name, priority, dedupe_key, state, actor_name FROM dramatiq.queue"
    )
    # Then nothing but id and moment differ
    assert columns == python_columns
    assert message.pop("message_id") == sent_id and python.pop("message_id")
    assert abs(message.pop("message_timestamp") - python.pop("message_timestamp")) < 60_000
    assert message == python
    assert dramatiq.Message.decode(json.dumps({**message, "message_id": sent_id, "message_timestamp": 1}).encode())


def test_the_actors_priority_counts_where_none_is_given(db, known):
    db("SELECT callboard.enqueue('ship')")
    assert db("SELECT priority, message -> 'options', message -> 'args', message -> 'kwargs' FROM dramatiq.queue") == [
        (7, {}, [], {})
    ]


def test_a_delay_is_a_later_moment(db, known):
    db("SELECT callboard.enqueue('ship', delay => interval '5 min')")
    [(seconds,)] = db("SELECT extract(epoch FROM available_at - now())::float FROM dramatiq.queue")
    assert 290 < seconds <= 300


def test_the_message_shares_the_transactions_fate_and_rings_at_its_end(url, db, known):
    listener = psycopg2.connect(url)
    listener.autocommit = True
    listener.cursor().execute("LISTEN callboard")
    sender = psycopg2.connect(url)
    for end in (sender.rollback, sender.commit):
        sender.cursor().execute("SELECT callboard.enqueue('ship')")
        assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]
        end()
    assert db("SELECT count(*) FROM dramatiq.queue") == [(1,)]
    wait_until(lambda: listener.poll() or listener.notifies)
    assert [notify.payload for notify in listener.notifies] == [""]
    sender.close()
    listener.close()


def test_an_unknown_actor_is_named_with_what_helps(db):
    with pytest.raises(errors.UndefinedObject, match='no worker has registered an actor "shp"') as caught:
        db("SELECT callboard.enqueue('shp')")
    assert "queue =>" in caught.value.diag.message_hint
    db("SELECT callboard.enqueue('shp', queue => 'orders')")
    assert db("SELECT queue_name, priority FROM dramatiq.queue") == [("orders", 0)]


def test_a_queue_that_is_named_goes_before_the_registered_one(db, known):
    db("SELECT callboard.enqueue('ship', queue => 'elsewhere')")
    assert db("SELECT queue_name, priority FROM dramatiq.queue") == [("elsewhere", 0)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("actor => NULL", "actor is missing"),
        ("'ship', '[]'", 'kwargs for actor "ship" must be a JSON object, got array'),
        ("'ship', NULL", "must be a JSON object, got NULL"),
        ("""'ship', args => '"a"'""", 'args for actor "ship" must be a JSON array, got string'),
        ("'ship', delay => interval '-1 s'", "delay .* must be between 0 and 10 years, got -00:00:01"),
        ("'ship', delay => interval '11 years'", "must be between 0 and 10 years"),
        ("'ship', dedupe_key => ''", "must have 1 to 255 characters, got 0"),
        ("'ship', dedupe_key => repeat('x', 256)", "must have 1 to 255 characters, got 256"),
        ("'ship', queue => 'orders.DQ'", 'queue "orders.DQ" .* is no queue to send to'),
        ("'ship', jsonb_build_object('a', repeat('x', 262144))", "the limit is 262144"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_what_helps(db, known, arguments, says):
    with pytest.raises(psycopg2.DatabaseError, match=says) as caught:
        db(f"SELECT callboard.enqueue({arguments})")
    assert caught.value.diag.message_hint
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]


def test_racing_senders_of_one_dedupe_key_get_one_id(url, known, db):
    # Given 16 senders at once, some of them slow to commit
    ready = threading.Barrier(16)

    def send(number):
        connection = psycopg2.connect(url)
        with connection.cursor() as cursor:
            ready.wait()
            cursor.execute("SELECT callboard.enqueue('ship', dedupe_key => 'k')::text")
            time.sleep(0.05 * (number % 3 == 0))
            answer = cursor.fetchone()[0]
        connection.commit()
        connection.close()
        return answer

    with ThreadPoolExecutor(16) as threads:
        answers = set(threads.map(send, range(16)))
    # Then all were told the one message that is there
    assert [(answer,) for answer in answers] == db("SELECT message_id::text FROM dramatiq.queue")


def test_python_and_sql_share_a_dedupe_key(broker, db, known):
    ship = dramatiq.actor(lambda: None, actor_name="ship", broker=broker, queue_name="orders")
    first = ship.send_with_options(dedupe_key="k")
    assert db("SELECT callboard.enqueue('ship', dedupe_key => 'k')::text") == [(first.message_id,)]


def test_an_open_transaction_with_the_same_dedupe_key_is_waited_for_two_seconds(url, db, known):
    other = psycopg2.connect(url)
    other.cursor().execute("SELECT callboard.enqueue('ship', dedupe_key => 'k')")
    begun = time.monotonic()
    with pytest.raises(errors.LockNotAvailable, match='dedupe_key "k" to queue "orders"') as caught:
        db("SELECT callboard.enqueue('ship', dedupe_key => 'k')")
    assert 1.5 < time.monotonic() - begun < 30 and caught.value.diag.message_hint
    other.rollback()
    other.close()
    assert db("SELECT callboard.enqueue('ship', dedupe_key => 'k') IS NOT NULL") == [(True,)]


def grants_of_the_page():
    """Return the statements that docs/sending-from-sql.md tells a database's owner to run."""
    from tests.unit.pages import text_of

    page = text_of("docs/sending-from-sql.md")
    return page.split("## Grants", 1)[1].split("```sql\n", 1)[1].split("```", 1)[0]


def test_a_role_with_the_documented_grants_sends_and_reads_no_message(url, db, known):
    # Given a role with what the page grants
    role = f"shop_{int(time.time() * 1000)}"
    db(f"CREATE ROLE {role} NOLOGIN")
    db(grants_of_the_page().replace("shop", role))
    db("SELECT callboard.enqueue('ship', '{\"secret\": 1}')")
    connection = psycopg2.connect(url)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(f"SET ROLE {role}")
    # When it sends, with and without a key
    for arguments in ("'ship'", "'ship', dedupe_key => 'k'", "'ship', dedupe_key => 'k'", "'x', queue => 'y'"):
        cursor.execute(f"SELECT callboard.enqueue({arguments})")
    # Then the messages are there, and it can neither read nor change one
    assert db("SELECT count(*) FROM dramatiq.queue") == [(4,)]
    for statement in (
        "SELECT message FROM dramatiq.queue",
        "DELETE FROM dramatiq.queue",
        "UPDATE dramatiq.queue SET priority = 0",
        "SELECT value FROM callboard.results",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute(statement)
    connection.close()
    db(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_two_services_with_one_actor_name_are_told_and_the_last_one_wins(url, db, caplog):
    # Given a worker that serves "ship" on one queue
    first, second = (PostgresBroker(url=url, middleware=[]) for _ in range(2))
    for broker, queue in ((first, "ours"), (second, "theirs")):
        dramatiq.actor(lambda: None, actor_name="ship", broker=broker, queue_name=queue)
    registered = "SELECT queue_name FROM callboard.actors"
    with running_worker(first):
        wait_until(lambda: db(registered) == [("ours",)])
        # When another service's worker registers the same name
        with running_worker(second):
            wait_until(lambda: db(registered) == [("theirs",)])
            wait_until(lambda: "actor is known on another queue" in caplog.text)
    # Then its queue is the one, until the first says otherwise; a sender that names its queue is not concerned
    db("SELECT callboard.enqueue('ship'); SELECT callboard.enqueue('ship', queue => 'ours')")
    assert sorted(db("SELECT queue_name FROM dramatiq.queue")) == [("ours",), ("theirs",)]
    first.close()
    second.close()
