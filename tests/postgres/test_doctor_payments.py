"""What the doctor says of YooKassa and of its webhooks, whoever answers."""

from __future__ import annotations

import pytest

import callboard.app
from callboard.cli.health.doctor import _payments
from callboard.dev.yookassa import YooKassaSandbox
from callboard.ops.health.findings import State
from callboard.settings import load_settings
from tests.postgres.payments_service import make_service
from tests.unit.payments.stranger import HTML, Stranger, own_error

SHOP = {"account_id": "100500", "status": "enabled", "test": False, "fiscalization_enabled": True}


@pytest.fixture
def examine(database_url, monkeypatch):
    """Return the doctor's findings where the address is YooKassa's."""
    monkeypatch.setattr(callboard.app, "database_url", lambda: database_url)

    def look(url):
        settings = load_settings(yukassa_shop_id="100500", yukassa_secret_key="sandbox", yukassa_api_url=url)
        return {finding.name: finding for finding in _payments(settings)}

    return look


def test_the_shop_is_shown_as_yookassa_knows_it(examine):
    with YooKassaSandbox() as sandbox:
        found = examine(sandbox.url)
    assert found["payments"].state is State.OK
    for text in ("shop 100500", "a test shop in which no money moves", "fiscalisation is off", "takes bank_card"):
        assert text in found["payments"].text
    assert found["webhooks"].state is State.OK


@pytest.mark.parametrize(
    "answer",
    [
        (404, own_error(404)),
        (404, HTML, "text/html"),
        (200, HTML, "text/html"),
        (401, own_error(401)),
        (403, HTML, "text/html"),
        (200, {"message": "ok"}),
        (200, {**SHOP, "account_id": "42"}),
        (200, {**SHOP, "status": "disabled"}),
        (302, b"", "text/html"),
        (500, own_error(500)),
    ],
)
def test_nothing_but_the_shop_itself_is_well(examine, answer):
    with Stranger() as stranger:
        stranger.say(*answer)
        assert examine(stranger.url)["payments"].state is State.FAILED


def test_webhooks_that_do_not_come_are_a_warning_with_what_to_do(examine, pool, monkeypatch):
    with YooKassaSandbox() as sandbox:
        service = make_service(pool, sandbox, monkeypatch)
        service.create()
        with pool.cursor() as cursor:
            cursor.execute("UPDATE callboard.payments SET created_at = now() - interval '5 hours'")
        found = examine(sandbox.url)
        assert found["webhooks"].state is State.WARNING
        assert (
            "1 payments should have been announced by now, and no webhook was accepted ever" in found["webhooks"].text
        )
        assert "TRUSTED_PROXIES" in found["webhooks"].advice
        service.announce("another")
        assert examine(sandbox.url)["webhooks"].state is State.OK
