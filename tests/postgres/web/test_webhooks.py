"""Webhooks: whom they are believed from, and that each is stored once."""

from __future__ import annotations

import pytest

from callboard.db import Pool
from tests.conftest import wait_until
from tests.postgres.web.conftest import GENUINE, NO_DATABASE, error_of


def test_a_webhook_from_outside_is_refused_and_not_stored(api):
    assert error_of(api.hook("x", address="203.0.113.9")) == (403, "forbidden")
    assert api.service.value("SELECT count(*) FROM callboard.payment_events") == 0


@pytest.mark.parametrize("address", ["185.71.76.5, 203.0.113.9", "unknown", "", "203.0.113.9, nonsense"])
def test_a_claim_left_of_the_real_sender_does_not_count(shared_api, address):
    assert shared_api.hook("x", address=address).status_code == 403


def test_without_trusted_proxies_the_header_is_not_believed(make_api):
    assert make_api(trusted_proxies="").hook("x").status_code == 403


def test_a_mapped_address_counts_as_itself(api):
    assert api.hook("x", address=f"::ffff:{GENUINE}").status_code == 200


def test_the_same_webhook_twice_is_one_event_and_one_message(api):
    assert [api.hook("x").status_code, api.hook("x").status_code] == [200, 200]
    assert api.service.value("SELECT times_received FROM callboard.payment_events") == 2
    assert api.service.value("SELECT count(*) FROM dramatiq.queue") == 1


def test_an_event_and_its_message_are_stored_both_or_neither(api, monkeypatch):
    def die(*_):
        raise ConnectionError("the process dies here")

    with monkeypatch.context() as broken:
        broken.setattr("callboard.web.payments.webhooks.send_in", die)
        assert error_of(api.hook("x")) == (500, "internal_error")
    assert api.service.value("SELECT count(*) FROM callboard.payment_events") == 0
    assert api.hook("x").status_code == 200


def test_a_webhook_that_cannot_be_stored_asks_to_come_again(make_api):
    api = make_api(used_pool=Pool(NO_DATABASE))
    answer = api.hook("x")
    assert error_of(answer) == (503, "database_unavailable")
    assert "nobody" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"event": "payment.succeeded"},
        {"event": "payment.succeeded", "object": {"id": "../x"}},
        {"event": "payment.succeeded", "object": {"id": "a\x00"}},
        {"event": "PAYMENT\x00", "object": {"id": "x"}},
        {"event": "payment.succeeded", "object": {"id": 5}},
    ],
)
def test_a_webhook_that_is_none_is_refused(shared_api, body):
    answer = shared_api.post("/webhooks/yookassa", body, token=None, headers={"X-Forwarded-For": GENUINE})
    assert error_of(answer) == (422, "invalid_request")
    assert shared_api.service.value("SELECT count(*) FROM callboard.payment_events") == 0


def test_the_sandbox_delivers_duplicates_and_latecomers_to_one_receipt(api):
    sandbox = api.service.sandbox
    sandbox.webhook_url = f"{api.url}/webhooks/yookassa"
    sandbox.plan_webhooks("A-17", "out_of_order")
    provider_id = api.pay().json()["confirmation_url"].rsplit("/", 1)[1]
    sandbox.announce(provider_id, status="succeeded")
    sandbox.announce(provider_id, status="succeeded", from_address="203.0.113.9")
    sandbox.confirm(provider_id)

    def answers():
        return [note["answer"] for note in sandbox.books.as_json()["payments"][0]["webhooks"]]

    wait_until(lambda: answers() == [200, 403, 200, 200])
    api.work()
    assert len(api.service.receipts()) == 1
