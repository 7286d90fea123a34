"""What each way a conversation can go means for the mail."""

from __future__ import annotations

import contextlib
import logging
import socket
from email import message_from_bytes, policy

import pytest

from callboard.dev.mail_server import MailPlan, MailServer
from callboard.errors import PermanentError, Postponed, TemporaryError
from callboard.mail import MailOutcomeUnknown, MailPostponed, MailRefused, build_email
from callboard.mail.smtp.transport import SmtpTransport
from tests.unit.mail.conftest import MESSAGE_ID
from tests.unit.mail.scripted_server import HANG_UP, SILENCE, ScriptedServer


def test_a_mail_arrives_as_it_was_built(send, email, tmp_path):
    with MailServer(tmp_path) as server:
        assert send(server).startswith("250")
        (path,) = server.mails()
    arrived = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert arrived["X-Envelope-To"] == "ann@x.test"
    assert arrived["Message-ID"] == f"<{MESSAGE_ID}@shop.test>"
    for kind in ("plain", "html"):
        assert (
            arrived.get_body((kind,)).get_content().splitlines() == email.get_body((kind,)).get_content().splitlines()
        )


def test_lines_that_begin_with_a_dot_arrive_whole(send, settings, tmp_path):
    link = "https://x.test/"
    context = {"name": "Ann\n.\n..\nQUIT", "link": link}
    message = build_email(
        settings, message_id=MESSAGE_ID, to="ann@x.test", template="account_activation", context=context
    )
    with MailServer(tmp_path) as server:
        send(server, message)
        (path,) = server.mails()
    text = message_from_bytes(path.read_bytes(), policy=policy.default).get_body(("plain",)).get_content()
    assert text.splitlines()[:4] == ["Hello Ann", ".", "..", "QUIT,"]
    assert link in text


@pytest.mark.parametrize(
    "trouble",
    [
        {"BANNER": HANG_UP},
        {"BANNER": "421 too busy"},
        {"BANNER": "554 not you"},
        {"EHLO": HANG_UP},
        {"MAIL": HANG_UP},
        {"MAIL": "421 bye"},
        {"RCPT": HANG_UP},
        {"RCPT": "421 bye"},
        {"DATA": HANG_UP},
        {"DATA": "421 bye"},
        {"DATA": "250 what"},
        {"MAIL": "what"},
        {"END": "421 shutting down"},
    ],
)
def test_a_server_that_hangs_up_before_it_has_the_mail_postpones(send, trouble):
    with (
        ScriptedServer(trouble) as server,
        pytest.raises(Postponed, match="mail server cannot be reached") as postponed,
    ):
        send(server)
    assert 24 <= postponed.value.wait_s <= 36
    assert not postponed.value.is_server_answer


@pytest.mark.parametrize("step", ["BANNER", "EHLO", "MAIL", "RCPT", "DATA"])
def test_an_answer_that_never_comes_postpones(send, step):
    with ScriptedServer({step: SILENCE}) as server, pytest.raises(Postponed, match="cannot be reached"):
        send(server, smtp_timeout_s=0.2)


def test_nobody_listening_postpones(settings_for, email):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Postponed, match="cannot be reached"):
        SmtpTransport(settings_for(port)).send(email)


def test_a_host_without_address_postpones(settings_for, email, monkeypatch):
    def no_address(*_args, **_options):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    with pytest.raises(Postponed, match="cannot be reached"):
        SmtpTransport(settings_for(smtp_host="mail.shop.test")).send(email)


@pytest.mark.parametrize("end", [HANG_UP, SILENCE, "rubbish", "354 again"])
def test_a_lost_answer_to_the_whole_mail_is_an_unknown_outcome(send, end):
    with ScriptedServer({"END": end}, {}) as server:
        with pytest.raises(MailOutcomeUnknown, match="same Message-ID") as unknown:
            send(server, smtp_timeout_s=1)
        assert isinstance(unknown.value, TemporaryError)
        assert send(server) == "250 2.0.0 kept"
        assert [content.count(f"<{MESSAGE_ID}@shop.test>".encode()) for content in server.contents] == [1, 1]


@pytest.mark.parametrize("code", [450, 451, 452])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "END"])
def test_a_server_that_says_later_postpones_by_the_greylist_wait(send, step, code):
    with ScriptedServer({step: f"{code} 4.7.1 later"}) as server:
        with pytest.raises(MailPostponed, match=r"greylisted by x\.test") as postponed:
            send(server)
        assert postponed.value.wait_s == 300
        assert postponed.value.reply == f"{code} 4.7.1 later"
        assert postponed.value.is_server_answer


@pytest.mark.parametrize("step", ["RCPT", "DATA", "END"])
def test_a_refused_mail_is_permanent_and_names_code_and_text(send, step):
    answer = "550-5.1.1 <ann@x.test> has\n550 5.1.1 no mailbox"
    with ScriptedServer({step: answer}) as server, pytest.raises(MailRefused, match=r"550 5\.1\.1") as refused:
        send(server)
    assert isinstance(refused.value, PermanentError)
    assert "ann@" not in str(refused.value)
    assert "<***@x.test>" in str(refused.value)
    assert "no mailbox" in refused.value.reply


def test_a_mail_too_large_is_refused_before_it_is_sent(send):
    with ScriptedServer({"EHLO": "250-scripted\n250 SIZE 100", "MAIL": "552 too large"}) as server:
        with pytest.raises(MailRefused, match="552 too large"):
            send(server)
        assert any(line.startswith("MAIL FROM:<shop@shop.test> size=") or " SIZE=" in line for line in server.lines)
        assert server.contents == []


def test_a_refusal_leaves_the_connection_clean_for_the_next_mail(send):
    with ScriptedServer({"RCPT": ["550 no", "250 ok"]}) as server:
        with pytest.raises(MailRefused):
            send(server)
        assert send(server) == "250 2.0.0 kept"
        assert server.verbs == [["EHLO", "MAIL", "RCPT", "RSET", "NOOP", "MAIL", "RCPT", "DATA"]]


def test_a_refusal_stands_when_the_server_hangs_up_after_it(send):
    with ScriptedServer({"RCPT": "550 no", "RSET": HANG_UP}, {}) as server:
        with pytest.raises(MailRefused):
            send(server)
        assert send(server) == "250 2.0.0 kept"


@pytest.mark.parametrize(
    ("step", "answer"), [("MAIL", "530 login first"), ("RCPT", "530 login first"), ("MAIL", "553 sender not allowed")]
)
def test_trouble_with_our_account_or_sender_postpones_instead_of_killing_mails(send, step, answer, caplog):
    with ScriptedServer({step: answer}) as server:
        for _ in range(3):
            with pytest.raises(Postponed, match="mail settings do not work"):
                send(server)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert answer in errors[0].callboard_fields["problem"]


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(send, caplog):
    caplog.set_level(logging.INFO)
    with ScriptedServer({"BANNER": "421 no"}, {"BANNER": HANG_UP}, {}) as server:
        for _ in range(2):
            with pytest.raises(Postponed):
                send(server)
        send(server)
        send(server)
    lines = [record.getMessage() for record in caplog.records if record.name == "callboard.mail.smtp.health"]
    assert lines == ["mail server became unreachable", "mail server became reachable"]


def test_no_log_line_holds_a_full_address(send, caplog):
    caplog.set_level(logging.DEBUG)
    with ScriptedServer({"RCPT": ["450 <ann@x.test> later", "421 <ann@x.test>", HANG_UP]}) as server:
        for _ in range(3):
            with pytest.raises(Postponed):
                send(server)
    assert "ann@" not in " ".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)


def test_a_non_ascii_local_part_needs_a_server_with_smtputf8(send, settings, tmp_path):
    message = build_email(
        settings, message_id=MESSAGE_ID, to="анна@пример.рф", template="welcome", context={"name": "Анна"}
    )
    with ScriptedServer() as server, pytest.raises(MailRefused, match="SMTPUTF8"):
        send(server, message)
    with MailServer(tmp_path) as server:
        send(server, message)
        (path,) = server.mails()
    assert "X-Envelope-To: анна@xn--e1afmkfd.xn--p1ai" in path.read_text().splitlines()
    assert message_from_bytes(path.read_bytes(), policy=policy.SMTPUTF8)["To"] == "анна@xn--e1afmkfd.xn--p1ai"


def test_an_international_domain_needs_no_smtputf8(send, settings):
    message = build_email(
        settings, message_id=MESSAGE_ID, to="anna@пример.рф", template="welcome", context={"name": "Анна"}
    )
    with ScriptedServer() as server:
        send(server, message)
        assert "rcpt to:<anna@xn--e1afmkfd.xn--p1ai>" in map(str.lower, server.lines)
        assert server.contents[0].isascii()


def test_a_dropped_mail_is_sent_again_and_kept_once(send, tmp_path):
    with MailServer(tmp_path, plan=MailPlan(dropped={"ann@x.test": 1})) as server:
        with pytest.raises(MailOutcomeUnknown):
            send(server)
        send(server)
        assert len(server.mails()) == 1
