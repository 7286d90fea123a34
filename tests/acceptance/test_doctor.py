"""`callboard doctor` against a real mail server, YooKassa's sandbox and a folder, well and broken."""

from __future__ import annotations

import json

import pytest

from callboard.dev.mail_server import MailServer
from callboard.dev.yookassa import YooKassaSandbox
from tests.unit.mail.scripted_server import ScriptedServer


@pytest.fixture
def surroundings(tmp_path):
    with MailServer(tmp_path / "mail") as mail, YooKassaSandbox() as sandbox:
        yield {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mail.port),
            "SMTP_SECURITY": "none",
            "YUKASSA_SHOP_ID": "100500",
            "YUKASSA_SECRET_KEY": "sandbox",
            "YUKASSA_API_URL": sandbox.url,
            "REPORT_STORAGE_URL": f"file://{tmp_path}/reports",
            "API_TOKEN": "token-of-the-test",
        }


def states(done):
    return {finding["name"]: finding["state"] for finding in json.loads(done.stdout)}


def test_all_that_is_configured_is_tried(shell, surroundings):
    done = shell.run_callboard("doctor", "-o", "json", **surroundings)
    found = states(done)
    for name in ("settings", "mail", "sender", "payments", "storage", "access", "doorbell"):
        assert found[name] == "ok"
    # The servers of the tests may lose data, and no worker runs; both are said.
    assert (found["durability"], found["workers"], done.returncode) == ("failed", "warning", 4)
    table = shell.run_callboard("doctor", **surroundings)
    assert "✓ mail" in table.stdout and "→ Start some: callboard work" in table.stdout
    assert "1 failed" in table.stderr


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("mail", {"SMTP_PORT": "1"}, "Check SMTP_HOST and SMTP_PORT"),
        ("payments", {"YUKASSA_SECRET_KEY": "of-somebody-else"}, "YUKASSA_SECRET_KEY"),
        ("storage", {"REPORT_STORAGE_URL": "floppy://a"}, "Use file:// or s3://"),
        ("database", {"DATABASE_URL": "postgresql://127.0.0.1:1/none"}, "cannot be reached"),
        ("settings", {"SUPABASE_URL": "http://old"}, "Set DATABASE_URL instead"),
    ],
)
def test_what_is_broken_is_named_and_hides_nothing_else(shell, surroundings, name, wrong, said):
    done = shell.run_callboard("doctor", "-o", "json", **{**surroundings, **wrong})
    [finding] = [finding for finding in json.loads(done.stdout) if finding["name"] == name]
    assert finding["state"] == ("warning" if name == "settings" else "failed")
    assert said in finding["text"] + finding["advice"]
    assert "of-somebody-else" not in done.stdout
    assert {"mail", "payments", "storage"} <= set(states(done))


def test_a_sender_that_the_server_refuses_at_rcpt_is_named_with_its_answer(shell, surroundings):
    refusal = "553 5.7.1 Sender address rejected: not owned by user shop"
    with ScriptedServer({"RCPT": refusal}) as server:
        done = shell.run_callboard("doctor", "-o", "json", **{**surroundings, "SMTP_PORT": str(server.port)})
    [finding] = [finding for finding in json.loads(done.stdout) if finding["name"] == "sender"]
    assert (finding["state"], done.returncode) == ("failed", 4)
    assert refusal in finding["text"]
    assert "Set SMTP_FROM" in finding["advice"]
