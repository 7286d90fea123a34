"""The corpus of answers through a real conversation: what becomes of the mail, and what its reason says."""

from __future__ import annotations

import logging
import re

import pytest

from callboard.errors import PermanentError, Postponed
from callboard.mail import MailPostponed, MailRefused
from callboard.mail.answers.answer import Fate
from tests.unit.mail.scripted_server import ScriptedServer
from tests.unit.mail.test_answers import rows

SCRIPTS = {"CONNECT": "BANNER", "end of mail": "END"}
WAITS = {Fate.LATER: (300, 300), Fate.LIMIT: (240, 361), Fate.SETTINGS: (24, 37), Fate.OUTAGE: (24, 37)}
PREFIXES = {Fate.SETTINGS: "mail settings do not work", Fate.LIMIT: "sending limit reached"}


def wire(answer):
    """Write an answer as a server does, each line but the last with a dash."""
    lines = answer.split("\n")
    return "\n".join([f"{line[:3]}-{line[4:]}" for line in lines[:-1]] + lines[-1:])


@pytest.fixture
def talk(send):
    def talk(phase, answer):
        script = {SCRIPTS.get(phase, phase): wire(answer)}
        if phase == "EHLO":
            script["HELO"] = script["EHLO"]
        options = {"smtp_user": "shop", "smtp_pass": "open sesame"} if phase == "AUTH" else {}
        extension = {"AUTH": "AUTH PLAIN", "STARTTLS": "STARTTLS"}.get(phase)
        if extension is not None:
            script["EHLO"] = f"250-scripted\n250 {extension}"
        if phase == "STARTTLS":
            options["smtp_security"] = "starttls"
        with ScriptedServer(script) as server:
            return send(server, **options)

    return talk


@pytest.mark.parametrize(("phase", "fate", "rule", "answer"), list(rows()))
def test_an_answer_decides_between_later_and_never_and_says_why(talk, phase, fate, rule, answer):
    if fate == Fate.REFUSED:
        with pytest.raises(MailRefused) as refused:
            talk(phase, answer)
        assert isinstance(refused.value, PermanentError)
        assert rule in refused.value.kind
        return
    with pytest.raises(MailPostponed) as postponed:
        talk(phase, answer)
    least, most = WAITS[Fate(fate)]
    assert least <= postponed.value.wait_s <= most
    assert postponed.value.is_server_answer == (fate == Fate.LATER)
    assert postponed.value.reason.startswith(PREFIXES.get(Fate(fate), ""))
    # The server's own words, with addresses by their domain.
    assert answer[:3] in postponed.value.reason
    assert not re.search(r"(?:ann|shop)@(?!yahoo)", postponed.value.reason)


@pytest.mark.parametrize(
    "banner",
    [
        "HTTP/1.1 400 Bad Request\nContent-Type: text/html\n\n<html>Sign in to the network</html>",
        "HTTP/1.0 302 Found\nLocation: http://portal.test/\n",
        "SSH-2.0-OpenSSH_9.2",
        "* OK [CAPABILITY IMAP4rev1] ready",
        "+OK POP3 ready",
        "\x15\x03\x01\x00\x02\x02\x0a",
        "no one here",
        "554 No SMTP service here",
        "421 4.3.2 shutting down",
        "250 hello",
        "",
    ],
)
def test_what_is_no_mail_server_never_decides_about_a_mail(send, banner):
    with (
        ScriptedServer({"BANNER": banner}) as server,
        pytest.raises(Postponed, match=r"mail (?:server cannot be reached|settings do not work)"),
    ):
        send(server)


@pytest.mark.parametrize("step", ["EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(
    "answer", ["HTTP/1.1 502 Bad Gateway", "<html>", "* BAD", "999 what", "120 wait", "302 http://portal.test/"]
)
def test_a_proxy_in_the_middle_of_the_conversation_never_refuses_a_mail(send, step, answer):
    with ScriptedServer({step: answer, "HELO": answer}) as server, pytest.raises(Postponed, match="cannot be reached"):
        send(server)


def test_a_service_that_knows_no_ehlo_is_a_matter_of_settings(send, caplog):
    ftp = {"BANNER": "220 ProFTPD ready", "EHLO": "500 EHLO not understood", "HELO": "500 HELO not understood"}
    with ScriptedServer(ftp) as server, pytest.raises(Postponed, match="settings do not work"):
        send(server)
    assert "Check SMTP_HOST and SMTP_PORT" in caplog.records[-1].callboard_fields["problem"]


def test_a_refused_login_shows_the_servers_words_without_the_account(send, caplog):
    script = {"EHLO": "250-scripted\n250 AUTH PLAIN", "AUTH": "535 5.7.8 shop-account: bad password open-sesame"}
    with ScriptedServer(script) as server, pytest.raises(Postponed, match=r"535 5\.7\.8 \*\*\*: bad"):
        send(server, smtp_user="shop-account", smtp_pass="open-sesame")
    assert "open-sesame" not in str([vars(record) for record in caplog.records])


def test_one_limit_is_one_warning_however_its_words_differ(send, caplog):
    answers = [f"454 Throttling failure: Daily message quota exceeded ({number})" for number in range(3)]
    with ScriptedServer({"END": answers}) as server:
        for _ in answers:
            with pytest.raises(Postponed, match="sending limit reached"):
                send(server)
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.getMessage() == "mail server limits what we send"


def test_bounces_go_to_the_envelope_sender_that_is_set(send):
    with ScriptedServer() as server:
        send(server, smtp_envelope_from="Bounces <bounces@mail.shop.test>")
        assert "mail from:<bounces@mail.shop.test>" in map(str.lower, server.lines)
        assert b"From: Callboard <shop@shop.test>\r\n" in server.contents[0]
    with ScriptedServer() as server, pytest.raises(Postponed, match="SMTP_ENVELOPE_FROM"):
        send(server, smtp_envelope_from="nobody")
