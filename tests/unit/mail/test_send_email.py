"""The actor: what it adds to a delivery."""

from __future__ import annotations

import subprocess
import sys
from email import message_from_bytes, policy
from types import SimpleNamespace
from uuid import uuid4

import pytest

from callboard.dev.mail_server import MailServer
from callboard.errors import PermanentError
from callboard.settings import load_settings


@pytest.fixture
def server(tmp_path):
    with MailServer(tmp_path / "mail") as server:
        yield server


@pytest.fixture
def actor_sends(pool, monkeypatch):
    """Call the actor as a worker would, with settings and pool of the test."""
    from actors import emails

    def actor_sends(server, delivery=None, **arguments):
        settings = load_settings(
            smtp_host="127.0.0.1", smtp_port=server.port, smtp_security="none", smtp_from="shop@shop.test"
        )
        monkeypatch.setattr(emails, "get_settings", lambda: settings)
        monkeypatch.setattr(emails, "get_pool", lambda: pool)
        monkeypatch.setattr(emails, "current_delivery", lambda: delivery)
        emails.send_email.fn(**arguments)

    return actor_sends


RECEIPT = {
    "order_id": "../A 1",
    "amount": "1490.00",
    "currency": "RUB",
    "paid_at": "2026-11-23T09:12:00Z",
    "payment_id": "2f0c1b7e-63a4-4a53-8a7f-5b8b2a1a9d10",
}


def test_the_actor_attaches_the_receipt_under_a_harmless_name(actor_sends, server):
    actor_sends(server, to="ann@x.test", template="receipt", context=RECEIPT, attach=["receipt"])
    mail = message_from_bytes(server.mails()[0].read_bytes(), policy=policy.default)
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "receipt-.._A_1.pdf"
    assert attached.get_content().startswith(b"%PDF")


def test_the_actor_takes_the_id_of_the_message_it_runs(actor_sends, server, connection):
    message_id = str(uuid4())
    delivery = SimpleNamespace(message_id=message_id)
    for _ in range(2):
        actor_sends(server, delivery, to="ann@x.test", template="welcome", context={"name": "Ann"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT message_id::text, state, attempts FROM callboard.emails")
        assert cursor.fetchall() == [(message_id, "sent", 1)]


def test_an_unknown_kind_of_attachment_is_permanent_and_sends_nothing(actor_sends, server):
    with pytest.raises(PermanentError, match="invoice"):
        actor_sends(server, to="ann@x.test", template="receipt", context=RECEIPT, attach=["invoice"])
    assert server.attempts() == []


def test_a_producer_that_imports_the_actor_loads_nothing_that_only_workers_need():
    heavy = ["jinja2", "css_inline", "email_validator", "typst", "callboard.mail", "callboard.reports"]
    code = f"import sys, actors.emails; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
