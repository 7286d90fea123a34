"""Mails by the books: what callboard.emails says before, during and after each way a delivery can go."""

from __future__ import annotations

from uuid import uuid4

import psycopg2
import pytest

from callboard.dev.mail_server import MailPlan, MailServer
from callboard.errors import DatabaseUnavailable, Postponed
from callboard.mail import MailInvalid, MailOutcomeUnknown, MailRefused, close_connection, deliver
from callboard.mail.smtp.transport import SmtpTransport
from callboard.settings import load_settings


@pytest.fixture(autouse=True)
def _own_connection():
    yield
    close_connection()


@pytest.fixture
def message_id():
    return str(uuid4())


@pytest.fixture
def row(connection, message_id):
    """Look at the mail's row as a dictionary, or None."""

    def row():
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_jsonb(emails) FROM callboard.emails WHERE message_id = %s", (message_id,))
            found = cursor.fetchone()
        return found and found[0]

    return row


@pytest.fixture
def server_with(tmp_path):
    servers = []

    def server_with(**plan):
        server = MailServer(tmp_path / "mail", plan=MailPlan(**plan))
        server.start()
        servers.append(server)
        return server

    yield server_with
    for server in servers:
        server.stop()


@pytest.fixture
def pool_that_fails(pool, monkeypatch):
    """Let the pool answer so often, then be without database so many times; return the record of it."""

    def pool_that_fails(*, after, times=99):
        real, calls = pool.cursor, []

        def cursor(*args, **options):
            is_away = after <= len(calls) < after + times
            calls.append("away" if is_away else "answered")
            if is_away:
                raise DatabaseUnavailable("away")
            return real(*args, **options)

        monkeypatch.setattr(pool, "cursor", cursor)
        return calls

    return pool_that_fails


@pytest.fixture
def send(pool, message_id):
    def send(server, *, to="Ann <ann@x.test>", template="welcome", context=None, **settings):
        values = {"smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_security": "none", "smtp_timeout_s": 5}
        return deliver(
            load_settings(**(values | {"smtp_from": "shop@shop.test"} | settings)),
            pool,
            message_id=message_id,
            to=to,
            template=template,
            context=context or {"name": "Ann"},
        )

    return send


def test_a_sent_mail_leaves_a_row_that_says_so(send, server_with, row, message_id):
    assert send(server_with()) == "250 2.0.0 Kept"
    found = row()
    assert (found["state"], found["attempts"], found["reply"]) == ("sent", 1, "250 2.0.0 Kept")
    assert (found["recipient"], found["template"]) == ("ann@x.test", "welcome")
    assert found["subject"] == "Welcome to Callboard, Ann"
    assert found["message_id_header"] == f"<{message_id}@shop.test>"
    assert found["sent_at"]


def test_a_message_that_comes_again_after_its_mail_was_sent_sends_nothing(send, server_with, row):
    server = server_with()
    first = send(server)
    before = row()
    assert send(server, to="eve@x.test") == first
    assert len(server.mails()) == 1
    assert row() == before


def test_the_row_says_sending_while_the_conversation_runs(send, server_with, row, monkeypatch):
    seen = []
    monkeypatch.setattr(SmtpTransport, "send", lambda *_: seen.append(row()["state"]) or "250 ok")
    send(server_with())
    assert seen == ["sending"]


def test_the_mail_of_a_process_that_died_is_sent_again_with_the_same_message_id(send, server_with, row, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    server = server_with()
    with monkeypatch.context() as patched:
        patched.setattr(SmtpTransport, "send", die)
        with pytest.raises(Killed):
            send(server)
    header = row()["message_id_header"]
    assert row()["state"] == "sending"

    send(server)
    assert (row()["state"], row()["attempts"], row()["message_id_header"]) == ("sent", 2, header)
    assert f"Message-ID: {header}" in server.mails()[0].read_text()


def test_a_refused_mail_is_refused_in_its_row(send, server_with, row):
    with pytest.raises(MailRefused, match="550"):
        send(server_with(refused={"ann@x.test"}))
    assert row()["state"] == "refused"
    assert row()["reply"] == "550 5.1.1 No such mailbox"
    assert row()["sent_at"] is None


def test_a_refused_mail_that_an_operator_brings_back_is_sent(send, server_with, row):
    with pytest.raises(MailRefused):
        send(server_with(refused={"ann@x.test"}))
    send(server_with())
    assert (row()["state"], row()["attempts"]) == ("sent", 2)


def test_a_greylisted_mail_waits_and_is_then_delivered_once(send, server_with, row):
    server = server_with(greylisted={"ann@x.test": 2})
    for _ in range(2):
        with pytest.raises(Postponed, match=r"greylisted by x\.test"):
            send(server)
        assert (row()["state"], row()["reply"]) == ("sending", "451 4.7.1 Greylisted, try again later")
    send(server)
    assert (row()["state"], row()["attempts"]) == ("sent", 3)
    assert len(server.mails()) == 1


def test_a_mail_put_off_for_more_than_five_days_is_given_up(send, server_with, row, connection):
    server = server_with(greylisted={"ann@x.test": 9})
    with pytest.raises(Postponed):
        send(server)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE callboard.emails SET tried_since = tried_since - interval '6 days'")
    with pytest.raises(MailRefused, match=r"for 6 days.*451"):
        send(server)
    assert row()["state"] == "refused"
    with pytest.raises(Postponed):
        send(server)


def test_an_outage_never_gives_a_mail_up(send, server_with, row, connection):
    server = server_with()
    server.stop()
    with pytest.raises(Postponed, match="cannot be reached"):
        send(server)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE callboard.emails SET tried_since = tried_since - interval '60 days'")
    with pytest.raises(Postponed, match="cannot be reached"):
        send(server)
    assert row()["state"] == "sending"
    assert row()["reply"]


def test_an_unknown_outcome_is_sent_again(send, server_with, row):
    server = server_with(kept_and_dropped={"ann@x.test": 1})
    with pytest.raises(MailOutcomeUnknown):
        send(server)
    assert row()["state"] == "sending"
    send(server)
    first, second = (path.read_text().split("Message-ID: ")[1].splitlines()[0] for path in server.mails())
    assert first == second


def test_a_late_refusal_does_not_undo_a_sent_mail(send, server_with, row, monkeypatch):
    server = server_with()

    deliver_really, attempts = SmtpTransport.send, []

    def be_overtaken_once(transport, email):
        attempts.append(email)
        if len(attempts) > 1:
            return deliver_really(transport, email)
        send(server)
        raise MailRefused("too late", reply="550 too late")

    monkeypatch.setattr(SmtpTransport, "send", be_overtaken_once)
    with pytest.raises(MailRefused):
        send(server)
    assert (row()["state"], row()["reply"]) == ("sent", "250 2.0.0 Kept")


@pytest.mark.parametrize(
    "wrong",
    [{"to": "nobody"}, {"template": "invoice"}, {"context": {"first_name": "Ann"}}, {"to": "a@x.test\nBcc: b@x.test"}],
)
def test_a_mail_that_cannot_be_built_is_permanent_and_talks_to_nobody(send, server_with, row, wrong):
    server = server_with()
    with pytest.raises(MailInvalid):
        send(server, **wrong)
    assert server.attempts() == []
    assert row() is None


def test_a_wrong_sender_postpones_until_it_is_corrected(send, server_with):
    server = server_with()
    with pytest.raises(Postponed, match="mail settings do not work"):
        send(server, smtp_from="nobody")
    send(server)


def test_hostile_values_are_stored_as_they_are(send, server_with, row):
    name = "'; DROP TABLE callboard.emails; -- %(state)s"
    send(server_with(), context={"name": name})
    assert row()["subject"] == f"Welcome to Callboard, {name}"


def test_without_database_nothing_is_sent(send, server_with, pool_that_fails):
    server = server_with()
    pool_that_fails(after=0)
    with pytest.raises(DatabaseUnavailable):
        send(server)
    assert server.attempts() == []


@pytest.mark.parametrize(
    ("plan", "outcome"),
    [({}, None), ({"refused": {"ann@x.test"}}, MailRefused), ({"greylisted": {"ann@x.test": 1}}, Postponed)],
)
def test_a_database_that_goes_away_meanwhile_does_not_change_the_outcome(
    send, server_with, pool_that_fails, plan, outcome
):
    server = server_with(**plan)
    calls = pool_that_fails(after=1)
    if outcome is None:
        assert send(server) == "250 2.0.0 Kept"
    else:
        with pytest.raises(outcome):
            send(server)
    assert calls == ["answered", "away", "away"]


def test_a_sent_mail_whose_row_could_not_be_closed_at_first_is_closed_by_the_second_try(
    send, server_with, pool_that_fails, row
):
    pool_that_fails(after=1, times=1)
    send(server_with())
    assert row()["state"] == "sent"


def test_the_statements_run_on_each_server(each_database_url, message_id):
    from callboard.db import Pool

    pool = Pool(each_database_url)
    settings = load_settings(email_provider="console", smtp_from="shop@shop.test")
    for _ in range(2):
        deliver(settings, pool, message_id=message_id, to="ann@x.test", template="welcome", context={"name": "Ann"})
    pool.close()
    with psycopg2.connect(each_database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT state, attempts FROM callboard.emails")
        assert cursor.fetchall() == [("sent", 1)]
    connection.close()
