"""What the server itself writes down of our statements: nothing that a message holds, wherever one fails on purpose."""

from __future__ import annotations

import contextlib
import threading
import uuid
from datetime import UTC, datetime

import dramatiq
import psycopg2
import pytest

from callboard import send_in
from callboard.broker import service_broker as default
from callboard.broker import set_default_broker
from callboard.broker.ending.verdict import AttemptError, Verdict
from callboard.broker.ending.verdict_writer import VerdictWriter
from callboard.broker.sending.copying import INSERT_BELOW
from callboard.db import schema
from callboard.dev.temporary_postgres import temporary_server
from callboard.errors import BrokerUnavailable
from callboard.terms import Outcome
from tests.conftest import SYSTEM_POSTGRES, wait_until
from tests.postgres.broker.conftest import make_broker
from tests.postgres.broker.fake_workers import opened

#: What must not be found in the log.
SECRET = "ann@shop.test"
KEY = "order-of-ann-17"


@pytest.fixture(scope="module", params=["embedded", "system"])
def server(request):
    """A server that logs as Postgres does by default."""
    if request.param == "system" and not SYSTEM_POSTGRES:
        pytest.skip("no Postgres of the system is installed; the embedded one ran this test")
    with temporary_server(SYSTEM_POSTGRES[-1] if request.param == "system" else None) as server:
        server.ensure_database("logged")
        schema.upgrade(server.url("logged"))
        yield server


@pytest.fixture
def url(server):
    return server.url("logged")


@pytest.fixture
def db(url):
    with opened(url) as query:
        query("TRUNCATE dramatiq.queue")
        yield query


@pytest.fixture
def broker(url, monkeypatch):
    broker = make_broker(url)
    monkeypatch.setattr(default, "_default_broker", None)
    set_default_broker(broker)
    yield broker
    broker.close()


@pytest.fixture
def logged(server):
    """Return what the server has logged since the test began."""
    path = server.data_dir / "server.log"
    start = path.stat().st_size

    def look():
        return path.read_bytes()[start:].decode()

    return look


def message(**options):
    return dramatiq.Message(queue_name="emails", actor_name="mail", args=(), kwargs={"to": SECRET}, options=options)


@contextlib.contextmanager
def held(url, *statements):
    """Keep a transaction open in which these statements were said."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        yield


def holding_key(url):
    return held(
        url,
        "INSERT INTO dramatiq.queue (message_id, queue_name, message, dedupe_key)"
        f" VALUES (gen_random_uuid(), 'emails', '{{}}', '{KEY}')",
    )


def test_the_log_is_read_where_the_server_writes_it(db, logged):
    with pytest.raises(psycopg2.Error):
        db("SELECT 1 / 0 AS told")
    assert "told" in logged()


def test_a_message_that_is_sent_again(broker, db, logged):
    sent = broker.enqueue(message())
    broker.enqueue(sent)
    broker.send_many([sent, message()])
    broker.send_many([message() for _ in range(INSERT_BELOW)] + [sent])
    assert db("SELECT count(*) FROM dramatiq.queue") == [(INSERT_BELOW + 2,)]
    # A COPY that meets a known id fails; the id is all that is logged.
    assert SECRET not in logged() and logged().count("ERROR") == 1


def test_a_key_that_an_open_transaction_holds(broker, url, db, logged):
    with holding_key(url):
        with pytest.raises(BrokerUnavailable, match=KEY):
            broker.enqueue(message(dedupe_key=KEY))
        with pytest.raises(BrokerUnavailable, match=KEY):
            broker.send_many([message(dedupe_key=KEY), message()])
        with pytest.raises(BrokerUnavailable, match=KEY):
            broker.send_many([message() for _ in range(INSERT_BELOW)] + [message(dedupe_key=KEY)])
        with (
            contextlib.closing(psycopg2.connect(url)) as caller,
            pytest.raises(BrokerUnavailable, match=KEY),
        ):
            send_in(caller, message(dedupe_key=KEY))
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]
    # The caller's transaction fails, as nothing of it may be committed without the message.
    assert SECRET not in logged() and KEY not in logged() and logged().count("ERROR") == 1


def test_a_key_that_many_send_at_once(broker, db, logged):
    threads = [threading.Thread(target=lambda: broker.enqueue(message(dedupe_key=KEY))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db("SELECT count(*) FROM dramatiq.queue") == [(1,)]
    assert not logged()


def claimed(db):
    """Return message id and lease of a message that runs."""
    message_id = str(uuid.uuid4())
    [(lease_id,)] = db(
        "INSERT INTO dramatiq.queue (message_id, queue_name, state, message, lease_id, worker_id, claimed_at)"
        " VALUES (%s, 'emails', 'running', '{}', nextval('callboard.lease_id_seq'), gen_random_uuid(), now())"
        " RETURNING lease_id",
        message_id,
    )
    return message_id, lease_id


FAILURE = AttemptError("SMTPError", f"no mailbox {SECRET}", f"Traceback of {SECRET}", "0123456789ab")


@pytest.fixture
def completions(url):
    written = []
    own = VerdictWriter(lambda: url, str(uuid.uuid4()), written.extend, is_prepared=True)
    own.start()
    yield lambda verdict: (own.submit(verdict), lambda: written)[1]
    own.close()


def verdict(message_id, lease_id, outcome, **fields):
    fields = {"error": FAILURE, "retries": 1, **fields}
    return Verdict(message_id, "emails", "mail", lease_id, outcome, datetime.now(UTC), **fields)


VERDICTS = {
    Outcome.DONE: {"error": None},
    Outcome.RETRY: {"message": f'{{"kwargs": {{"to": "{SECRET}"}}}}'},
    Outcome.POSTPONED: {"reason": f"wait for {SECRET}"},
    Outcome.DEAD: {"reason": "permanent"},
}


@pytest.mark.parametrize("outcome", VERDICTS)
def test_a_verdict_whose_row_somebody_has_locked(outcome, completions, url, db, logged):
    message_id, lease_id = claimed(db)
    with held(url, f"SELECT 1 FROM dramatiq.queue WHERE message_id = '{message_id}' FOR UPDATE"):
        written = completions(verdict(message_id, lease_id, outcome, **VERDICTS[outcome]))
        # Longer than a verdict waits for a lock.
        wait_until(lambda: db("SELECT clock_timestamp() - claimed_at > '1.5 s' FROM dramatiq.queue") == [(True,)])
        assert not written()
    wait_until(written)
    assert [(each.lease_id, became) for each, became in written()] == [(lease_id, outcome)]
    # Of a success the ids are said, which are nobody's secret.
    assert SECRET not in logged()


def test_a_verdict_with_a_text_that_postgres_cannot_hold(completions, db, logged):
    message_id, lease_id = claimed(db)
    text = f'{{"kwargs": {{"to": "{SECRET}"}}, "options": {{"traceback": "a\\u0000b"}}}}'
    written = completions(verdict(message_id, lease_id, Outcome.RETRY, message=text))
    wait_until(written)
    assert db("SELECT message #>> '{kwargs,to}', message #>> '{options,traceback}' FROM dramatiq.queue") == [
        (SECRET, "ab")
    ]
    assert not logged()
