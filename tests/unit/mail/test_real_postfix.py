"""A real Postfix: what it says where, and what becomes of the mail."""

from __future__ import annotations

import pytest

from callboard.mail import Attachment, MailPostponed, MailRefused, build_email, rehearse
from callboard.mail.answers.answer import Fate
from callboard.mail.smtp.transport import SmtpTransport
from tests.unit.mail.conftest import MESSAGE_ID
from tests.unit.mail.postfix import Postfix


@pytest.fixture(scope="module")
def postfix():
    with Postfix() as postfix:
        yield postfix


LOGIN = {"smtp_user": "shop", "smtp_pass": "open sesame"}


@pytest.fixture
def send_over(postfix, settings_for, monkeypatch):
    """Send a mail over one of Postfix's services."""
    monkeypatch.setattr("callboard.mail.smtp.connection._local_hostname", lambda _: "worker.shop.test")

    def send_over(service, *, to="ann@x.test", attachments=(), **changed):
        settings = settings_for(postfix.ports[service], smtp_timeout_s=60, **changed)
        email = build_email(
            settings,
            message_id=MESSAGE_ID,
            to=to,
            template="welcome",
            context={"name": "Ann"},
            attachments=attachments,
        )
        return SmtpTransport(settings).send(email)

    return send_over


@pytest.mark.parametrize(
    ("service", "changed"),
    [
        ("open", {}),
        ("login", LOGIN),
        ("open", {"smtp_from_name": 'Lee, "Ann" <eve@evil.test>, of the Very Long Company Name Holding (Intl.)'}),
        ("open", {"smtp_envelope_from": "bounces@shop.test", "smtp_reply_to": "desk@shop.test"}),
    ],
)
def test_postfix_takes_what_is_right(send_over, service, changed):
    assert send_over(service, **changed).startswith("250 2.0.0 Ok: queued as")


@pytest.mark.parametrize(
    ("service", "changed", "reason"),
    [
        # Postfix says both only at RCPT, as smtpd_delay_reject is on by default.
        ("login", LOGIN | {"smtp_from": "boss@bank.test"}, r"553 5\.7\.1 .*Sender address rejected: not owned by user"),
        ("login", {}, r"553 5\.7\.1 .*Sender address rejected: not logged in"),
        ("login", LOGIN | {"smtp_pass": "wrong"}, r"535 5\.7\.8"),
        ("encrypted", {}, r"530 5\.7\.0 Must issue a STARTTLS command first"),
        ("open", {"to": "ann@elsewhere.test"}, r"554 5\.7\.1 .*Relay access denied"),
        ("closed", {}, r"554 5\.7\.1 .*Client host rejected"),
        ("picky", {}, r"554 5\.7\.1 .*Helo command rejected"),
    ],
)
def test_what_postfix_has_against_us_postpones_and_is_a_matter_of_settings(send_over, service, changed, reason):
    with pytest.raises(MailPostponed, match=rf"mail settings do not work.*{reason}"):
        send_over(service, **changed)


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("full@x.test", r"the mailbox at x\.test is full: 552 5\.2\.2 .*Mailbox is full"),
        ("grey@x.test", r"greylisted by x\.test: 450 4\.2\.0 .*Greylisted"),
    ],
)
def test_what_postfix_says_of_a_mailbox_that_passes_postpones(send_over, to, reason):
    with pytest.raises(MailPostponed, match=reason) as postponed:
        send_over("open", to=to)
    assert postponed.value.is_server_answer


def test_a_rate_limit_of_postfix_is_a_sending_limit(send_over):
    send_over("limited")
    with pytest.raises(MailPostponed, match=r"sending limit reached: 450 4\.7\.1 Error: too much mail"):
        send_over("limited")


def test_what_postfix_never_takes_is_refused(send_over):
    with pytest.raises(MailRefused, match=r"550 5\.1\.1 .*User unknown") as refused:
        send_over("open", to="nobody@x.test")
    assert refused.value.kind == "5.1.1 no such mailbox"
    with pytest.raises(MailRefused, match=r"552 5\.3\.4"):
        send_over("open", attachments=[Attachment("large.bin", b"x" * 30_000, "application/octet-stream")])


def test_a_refusal_leaves_postfix_ready_for_the_next_mail(send_over):
    with pytest.raises(MailRefused):
        send_over("open", to="nobody@x.test")
    assert send_over("open").startswith("250")


@pytest.mark.parametrize(
    ("service", "changed", "expected"),
    [
        ("login", LOGIN, (None, "250 2.1.5 Ok")),
        ("login", LOGIN | {"smtp_from": "boss@bank.test"}, (Fate.SETTINGS, "not owned by user shop")),
        ("login", {}, (Fate.SETTINGS, "not logged in")),
        ("open", {"smtp_from": "shop@elsewhere.test"}, (Fate.SETTINGS, "Relay access denied")),
        ("open", {"smtp_from": "nobody@x.test"}, (Fate.REFUSED, "User unknown")),
    ],
)
def test_doctor_hears_at_rcpt_what_every_mail_would(postfix, settings_for, service, changed, expected):
    fate, said = expected
    found = rehearse(settings_for(postfix.ports[service], smtp_timeout_s=60, **changed))
    assert (found.fate, said in found.text) == (fate, True)
