"""How long a mail is tried: one that fails alone ends after five days, an outage of the server gives nothing up."""

from __future__ import annotations

from uuid import uuid4

import pytest

from callboard.broker.failures.causes import cause_of
from callboard.dev.mail_server import MailPlan, MailServer
from callboard.errors import Postponed
from callboard.mail import MailRefused, close_connection, deliver
from callboard.mail.smtp.health import mail_health
from callboard.settings import load_settings
from tests.unit.mail.scripted_server import HANG_UP, SILENCE, ScriptedServer


@pytest.fixture
def message_id():
    return str(uuid4())


@pytest.fixture
def row(connection, message_id):
    """Look at the mail's row as a dictionary."""

    def row():
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_jsonb(emails) FROM callboard.emails WHERE message_id = %s", (message_id,))
            (found,) = cursor.fetchone()
        return found

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


@pytest.fixture(autouse=True)
def _own_connection_and_health():
    """Leave no connection and no remembered trouble to the next test."""
    for remembered in (mail_health._troubles, mail_health._troubled_since_s, mail_health._failing):
        remembered.clear()
    yield
    close_connection()


@pytest.fixture
def days_pass(connection):
    """Let all mails be as many days older."""

    def days_pass(days):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE callboard.emails SET tried_since = tried_since - %s * interval '1 day'", (days,))

    return days_pass


@pytest.fixture
def send_to(pool):
    """Send a mail of its own to an address over a server of the test."""

    def send_to(server, to, *, message_id=None, **settings):
        values = {"smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_security": "none", "smtp_timeout_s": 5}
        return deliver(
            load_settings(**(values | {"smtp_from": "shop@shop.test"} | settings)),
            pool,
            message_id=message_id or str(uuid4()),
            to=to,
            template="welcome",
            context={"name": "Ann"},
        )

    return send_to


def one_bad_recipient(answer):
    """A server that gives this answer at ann's RCPT alone."""
    return ScriptedServer({"RCPT <ann@x.test>": answer})


ALONE = {
    "a hang-up at its RCPT": "421 4.3.2 not for this one",
    "a slow RCPT": SILENCE,
    "a lost connection": HANG_UP,
    "a limit of this receiver": "550 5.7.1 rate limit exceeded",
    "a policy of this receiver": "550 5.7.1 relay not permitted",
    "a server without disk space": "452 4.3.1 Insufficient system storage",
    "a full mailbox": "552 5.2.2 mailbox full",
    "greylisting without end": "450 4.2.0 Greylisted",
}


@pytest.mark.parametrize("way", ALONE)
def test_a_mail_that_fails_alone_ends_after_five_days_whatever_the_way(send_to, message_id, row, days_pass, way):
    with one_bad_recipient(ALONE[way]) as server:
        for _ in range(2):
            with pytest.raises(Postponed):
                send_to(server, "ann@x.test", message_id=message_id, smtp_timeout_s=0.5)
            close_connection()
            send_to(server, "eve@x.test")
        days_pass(4)
        with pytest.raises(Postponed):
            send_to(server, "ann@x.test", message_id=message_id, smtp_timeout_s=0.5)
        send_to(server, "eve@x.test")
        days_pass(2)
        with pytest.raises(MailRefused, match="tried for 6 days") as refused:
            send_to(server, "ann@x.test", message_id=message_id, smtp_timeout_s=0.5)
    assert "ann@" not in str(refused.value)
    assert row()["state"] == "refused"


@pytest.mark.parametrize("script", [{"RCPT": "421 4.3.2 bye"}, {"RCPT": HANG_UP}, {"MAIL": "452 4.3.1 no space"}])
def test_an_outage_that_begins_within_the_conversation_gives_nothing_up(send_to, message_id, row, days_pass, script):
    with ScriptedServer(script) as server:
        for _ in range(3):
            days_pass(6)
            for to, id_ in (("eve@x.test", None), ("ann@x.test", message_id)):
                with pytest.raises(Postponed):
                    send_to(server, to, message_id=id_)
    assert row()["state"] == "sending"
    # The server is back, and not yet for this one: its days begin now.
    with one_bad_recipient("421 4.3.2 not yet") as server:
        send_to(server, "eve@x.test")
        with pytest.raises(Postponed):
            send_to(server, "ann@x.test", message_id=message_id)


def test_an_outage_takes_nothing_off_the_days_that_a_mail_has(send_to, message_id, row, server_with):
    server = server_with(greylisted={"ann@x.test": 9})
    port = server.port
    server.stop()
    with pytest.raises(Postponed, match="cannot be reached"):
        send_to(server, "ann@x.test", message_id=message_id)
    before = row()["tried_since"]
    with pytest.raises(Postponed, match="cannot be reached"):
        send_to(server, "ann@x.test", message_id=message_id)
    assert row()["tried_since"] > before
    with MailServer(server.directory, port=port, plan=MailPlan(greylisted={"ann@x.test": 9})) as back:
        with pytest.raises(Postponed, match="greylisted"):
            send_to(back, "ann@x.test", message_id=message_id)
        kept = row()["tried_since"]
        with pytest.raises(Postponed, match="greylisted"):
            send_to(back, "ann@x.test", message_id=message_id)
    assert row()["tried_since"] == kept


@pytest.mark.parametrize(
    "answer", ["553 5.7.1 Sender address rejected: not owned by user", "550 5.4.5 Daily limit exceeded"]
)
def test_what_is_wrong_with_us_gives_nothing_up_while_no_other_mail_gets_through(
    send_to, message_id, days_pass, answer
):
    with ScriptedServer({"RCPT": answer}) as server:
        for _ in range(3):
            with pytest.raises(Postponed):
                send_to(server, "ann@x.test", message_id=message_id)
            days_pass(6)


def test_a_mails_own_waits_grow_from_minutes_to_hours(send_to, message_id, days_pass, server_with, connection):
    server = server_with(greylisted={"ann@x.test": 99})
    waits = []
    for _ in range(9):
        with pytest.raises(Postponed) as postponed:
            send_to(server, "ann@x.test", message_id=message_id)
        waits.append(round(postponed.value.wait_s / 60))
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE callboard.emails SET tried_since = tried_since - %s * interval '1 s'", (postponed.value.wait_s,)
            )
    assert waits == [5, 10, 20, 40, 80, 160, 240, 240, 240]


def test_the_waits_of_an_outage_grow_modestly_and_begin_anew_when_it_is_over(send_to, server_with, monkeypatch):
    server = server_with()
    port = server.port
    server.stop()
    clock = [1000.0]
    monkeypatch.setattr("callboard.mail.smtp.health.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("callboard.mail.smtp.transport.random.uniform", lambda *_: 1.0)
    waits = []
    for passed_s in (0, 40, 400, 4000):
        clock[0] = 1000.0 + passed_s
        with pytest.raises(Postponed) as postponed:
            send_to(server, "ann@x.test")
        waits.append(postponed.value.wait_s)
    assert waits == [30, 40, 130, 300]
    with MailServer(server.directory, port=port) as back:
        send_to(back, "ann@x.test")
    with pytest.raises(Postponed) as postponed:
        send_to(server, "ann@x.test")
    assert postponed.value.wait_s == 30


def test_refusals_are_grouped_by_the_servers_code(send_to):
    def fingerprint(answer):
        with ScriptedServer({"RCPT": answer}) as server, pytest.raises(MailRefused) as refused:
            send_to(server, "ann@x.test")
        return cause_of(refused.value).fingerprint

    unknown = [fingerprint(f"550 5.1.1 <{name}@x.test> unknown") for name in ("ann", "eve")]
    assert unknown[0] == unknown[1]
    assert len({unknown[0], fingerprint("550 5.7.1 not to this one"), fingerprint("554 no")}) == 3
