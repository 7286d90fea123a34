"""Payments over real HTTP, on real Postgres and the sandbox."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from uuid import UUID

import pytest

from callboard.dev.yookassa_faults import Fault
from tests.postgres.web.conftest import BODY, error_of


def test_a_payment_is_created_paid_and_shown(api):
    created = api.pay()
    assert created.status_code == 201
    view = created.json()
    assert (view["status"], view["amount"]) == ("pending", {"value": "100.00", "currency": "RUB"})
    provider_id = view["confirmation_url"].rsplit("/", 1)[1]
    api.service.sandbox.confirm(provider_id)
    assert api.hook(provider_id).status_code == 200
    assert api.work() == 1
    paid = api.get(f"/payments/{view['id']}").json()
    assert paid["status"] == "succeeded"
    assert datetime.fromisoformat(paid["paid_at"]).tzinfo is not None
    assert [receipt["to"] for receipt in api.service.receipts()] == ["anna@shop.example"]


def test_the_same_request_again_gets_the_same_answer(api):
    first, second = api.pay(), api.pay()
    assert (second.status_code, second.json()) == (201, first.json())
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert api.service.sandbox.books.as_json()["payments"][0]["posts"] == 1


def test_the_same_key_with_another_body_is_refused(api):
    api.pay()
    assert error_of(api.pay(order_id="A-18")) == (422, "idempotency_key_reused")


def test_a_request_in_flight_makes_its_twin_wait(api):
    api.service.sandbox.misbehave(Fault("timeout_after", times=2))
    api.service.begin()
    twin = api.pay()
    assert error_of(twin) == (409, "idempotency_key_in_flight")
    assert int(twin.headers["Retry-After"]) >= 1


def test_many_twins_at_once_charge_once(api):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(api.pay().status_code)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {201, 409}
    assert 201 in answers
    assert len(api.service.sandbox.books.as_json()["payments"]) == 1


@pytest.mark.parametrize("key", [None, "", "x" * 65, "a b", "ключ".encode(), "a/b"])
def test_a_payment_needs_a_key_of_the_right_form(shared_api, key):
    headers = {} if key is None else {"Idempotency-Key": key}
    assert error_of(shared_api.post("/payments", BODY, headers=headers)) == (422, "invalid_request")


def test_a_timeout_after_the_creation_is_settled_within_the_request(api):
    api.service.sandbox.misbehave(Fault("timeout_after"))
    assert api.pay().status_code == 201
    [booked] = api.service.sandbox.books.as_json()["payments"]
    assert (booked["posts"], len(booked["idempotence_keys"])) == (2, 1)


def test_a_payment_whose_outcome_stays_unknown_goes_on_in_the_background(api):
    api.service.sandbox.misbehave(Fault("error_after", times=2))
    answer = api.pay()
    assert (answer.status_code, answer.json()["status"]) == (202, "created")
    assert api.work() == 1
    shown = api.get(f"/payments/{answer.json()['id']}").json()
    assert (shown["status"], len(api.service.sandbox.books.as_json()["payments"])) == ("pending", 1)
    again = api.pay()
    assert (again.status_code, again.json()["confirmation_url"]) == (201, shown["confirmation_url"])
    assert again.headers["Idempotent-Replayed"] == "true"


def test_sending_again_after_an_unknown_outcome_goes_on_where_it_stopped(api):
    api.service.sandbox.misbehave(Fault("reset_after", times=2))
    first, second = api.pay(), api.pay()
    assert (first.status_code, second.status_code) == (202, 201)
    assert first.json()["id"] == second.json()["id"]
    assert len(api.service.sandbox.books.as_json()["payments"]) == 1


def test_a_payment_that_yookassa_rejects_names_the_parameter_and_stays_rejected(api):
    rejected = api.pay(amount={"value": "1.00", "currency": "XXX"})
    assert error_of(rejected) == (422, "payment_rejected")
    assert rejected.json()["error"]["details"][0]["field"] == "amount.currency"
    again = api.pay(amount={"value": "1.00", "currency": "XXX"})
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (rejected.json(), "true")


def test_wrong_credentials_are_the_shops_problem_and_can_be_corrected(make_api, monkeypatch):
    api = make_api(yukassa_secret_key="wrong")
    assert error_of(api.pay()) == (502, "yookassa_refused")
    monkeypatch.setattr(api.service.sandbox, "login", "100500:wrong")
    assert api.pay().status_code == 201


def test_without_a_shop_the_answer_names_the_variables(make_api):
    api = make_api()
    object.__setattr__(api.app.state.callboard.settings, "yukassa_shop_id", None)
    answer = api.pay()
    assert error_of(answer) == (503, "payments_not_configured")
    assert "YUKASSA_SHOP_ID" in answer.text


@pytest.mark.parametrize(
    "changes",
    [
        {"order_id": ""},
        {"order_id": "a\x00b"},
        {"description": "x" * 129},
        {"amount": {"value": "0.00", "currency": "RUB"}},
        {"amount": {"value": "1.001", "currency": "RUB"}},
        {"amount": {"value": "1e3", "currency": "RUB"}},
        {"amount": {"value": 100, "currency": "RUB"}},
        {"amount": {"value": "1.00", "currency": "rub"}},
        {"customer_email": "nobody"},
        {"customer_email": "a@b.example\r\nBcc: c@d.example"},
        {"return_url": "javascript:alert(1)"},
        {"return_url": "https://"},
        {"return_url": "https://[::1"},
        {"metadata": {"payment_id": "forged"}},
        {"metadata": {"a": "\x00"}},
        {"metadata": {"\x00": "a"}},
        {"metadata": {str(number): "" for number in range(14)}},
        {"surprise": 1},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(shared_api, changes):
    assert error_of(shared_api.pay(**changes)) == (422, "invalid_request")


@pytest.mark.parametrize(
    "place", ['"order_id": "A-17', '"customer_email": "', '"return_url": "https://', '"order', '"RUB']
)
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(shared_api, place):
    body = json.dumps(BODY).replace(place, place + "\\ud800")
    assert "ud800" in body
    answer = shared_api.post(
        "/payments", None, data=body, headers={"Idempotency-Key": "k", "Content-Type": "application/json"}
    )
    assert error_of(answer) == (422, "invalid_request")


@pytest.mark.parametrize("text", ["'); DROP TABLE callboard.payments; --", "<script>alert(1)</script>", "%s {0} ${x}"])
def test_hostile_text_comes_back_as_it_was(api, text):
    created = api.pay(order_id=text, description=text, metadata={"note": text}).json()
    shown = api.get(f"/payments/{created['id']}").json()
    assert (shown["order_id"], shown["description"], shown["metadata"]) == (text, text, {"note": text})


@pytest.mark.parametrize("payment_id", [str(UUID(int=1)), "none", "%00", "'; --"])
def test_an_unknown_payment_is_refused(shared_api, payment_id):
    assert shared_api.get(f"/payments/{payment_id}").status_code in (404, 422)
