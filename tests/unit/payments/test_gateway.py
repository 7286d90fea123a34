"""The gateway over real HTTP on loopback: what each answer of YooKassa means, and that nothing is made twice."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from callboard.dev.yookassa import YooKassaSandbox
from callboard.dev.yookassa_faults import Fault
from callboard.errors import ConfigurationError
from callboard.payments import (
    CredentialsRejected,
    Gateway,
    PaymentNotFound,
    PaymentRejected,
    RepeatWindowPassed,
    Status,
    YooKassaRateLimited,
    YooKassaUnavailable,
    create,
)
from callboard.settings import load_settings
from tests.unit.payments.test_payment import ROW


@pytest.fixture
def sandbox():
    with YooKassaSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def gateway(sandbox):
    return Gateway(shop_id="100500", secret_key="sandbox", api_url=sandbox.url, timeout_s=0.5)


def books(sandbox):
    return sandbox.books.as_json()["payments"]


def test_a_payment_is_created_and_found(gateway):
    created = gateway.create_payment(ROW)
    assert (created.status, created.payment_id, created.amount) == (Status.PENDING, ROW.payment_id, ROW.amount)
    assert created.confirmation_url.endswith(f"/customer/{created.provider_id}")
    assert gateway.find_payment(created.provider_id).provider_id == created.provider_id


@pytest.mark.parametrize(
    "kind", ["timeout_after", "error_after", "processing_after", "reset_after", "reset", "broken", "unavailable"]
)
def test_a_repeat_after_an_unknown_outcome_makes_no_second_payment(sandbox, gateway, kind):
    sandbox.misbehave(Fault(kind))
    with pytest.raises(YooKassaUnavailable, match=r"unknown|understood"):
        gateway.create_payment(ROW)
    again = gateway.create_payment(ROW)
    assert [payment["id"] for payment in books(sandbox)] == [again.provider_id]
    assert books(sandbox)[0]["idempotence_keys"] == [ROW.idempotence_key]


@pytest.mark.parametrize("kind", ["timeout_after", "error_after", "reset_after", "reset", "unavailable"])
def test_within_a_budget_an_unknown_outcome_is_settled_at_once(sandbox, gateway, kind):
    sandbox.misbehave(Fault(kind))
    created = create(gateway, ROW, now=ROW.first_called_at, budget_s=4)
    assert [payment["id"] for payment in books(sandbox)] == [created.provider_id]


def test_the_wait_that_yookassa_asks_for_is_passed_on(sandbox, gateway):
    sandbox.misbehave(Fault("rate_limited", retry_after_ms=2500))
    sandbox.misbehave(Fault("processing_after", retry_after_ms=1800))
    with pytest.raises(YooKassaRateLimited) as limited:
        gateway.create_payment(ROW)
    with pytest.raises(YooKassaUnavailable) as busy:
        gateway.create_payment(ROW)
    assert (limited.value.retry_after_s, busy.value.retry_after_s) == (2.5, 1.8)


def test_a_refused_body_is_permanent_and_names_the_parameter(gateway):
    with pytest.raises(PaymentRejected, match=r"amount\.currency") as rejected:
        gateway.create_payment(replace(ROW, currency="XXX"))
    assert (rejected.value.status, rejected.value.code) == (400, "invalid_request")
    assert rejected.value.proves_no_payment


def test_a_refused_key_does_not_prove_that_there_is_no_payment(gateway):
    gateway.create_payment(ROW)
    with pytest.raises(PaymentRejected, match="duplicated") as rejected:
        gateway.create_payment(replace(ROW, order_id="other"))
    assert not rejected.value.proves_no_payment


def test_wrong_credentials_name_the_variables(sandbox):
    gateway = Gateway(shop_id="100500", secret_key="wrong", api_url=sandbox.url)
    with pytest.raises(CredentialsRejected, match="YUKASSA_SECRET_KEY"):
        gateway.find_payment("x")


def test_two_shops_in_one_process_do_not_disturb_each_other(sandbox, gateway):
    with YooKassaSandbox(shop_id="2", secret_key="other") as second:
        other = Gateway(shop_id="2", secret_key="other", api_url=second.url)
        assert gateway.create_payment(ROW).provider_id != other.create_payment(ROW).provider_id
        assert (len(books(sandbox)), len(books(second))) == (1, 1)


@pytest.mark.parametrize("provider_id", ["none-such", "", "../payments", "a b", "x" * 65, "\x00"])
def test_an_id_that_yookassa_does_not_know_is_not_found(gateway, provider_id):
    with pytest.raises(PaymentNotFound):
        gateway.find_payment(provider_id)


def test_nobody_listening_is_an_unknown_outcome():
    with YooKassaSandbox() as sandbox:
        url = sandbox.url
    with pytest.raises(YooKassaUnavailable, match="ConnectionError"):
        Gateway(shop_id="1", secret_key="x", api_url=url).find_payment("x")


def test_a_key_is_not_repeated_after_twenty_hours(sandbox, gateway):
    with pytest.raises(RepeatWindowPassed, match="A-17"):
        create(gateway, ROW, now=ROW.first_called_at + timedelta(hours=20))
    assert books(sandbox) == []


def test_threads_share_a_gateway(sandbox, gateway):
    rows = [replace(ROW, idempotence_key=f"key-{number}") for number in range(12)]
    threads = [threading.Thread(target=gateway.create_payment, args=(row,)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(payment["posts"] for payment in books(sandbox)) == [1] * 12


def test_a_netrc_of_the_machine_does_not_replace_the_shop(sandbox, gateway, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert gateway.create_payment(ROW).status is Status.PENDING


def test_a_shop_that_is_not_set_says_which_variables_are_missing():
    with pytest.raises(ConfigurationError, match="YUKASSA_SHOP_ID and YUKASSA_SECRET_KEY"):
        Gateway.from_settings(load_settings())


def test_asking_for_the_shop_makes_nothing_and_tells_whether_it_is_known(sandbox, gateway):
    assert gateway.find_shop().shop_id == "100500"
    assert books(sandbox) == []
    with pytest.raises(CredentialsRejected):
        Gateway(shop_id="100500", secret_key="wrong", api_url=sandbox.url, timeout_s=0.5).find_shop()
    with pytest.raises(YooKassaUnavailable):
        Gateway(shop_id="100500", secret_key="sandbox", api_url="http://127.0.0.1:1", timeout_s=0.5).find_shop()
