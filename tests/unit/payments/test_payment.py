"""What is sent to YooKassa, and what is read from it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.payments import NewPayment, Payment, ProviderPayment, Status, fingerprint

ROW = Payment(
    payment_id="7d5f3c1e-0000-4000-8000-000000000001",
    status=Status.CREATED,
    order_id="A-17",
    amount=Decimal("100.00"),
    currency="RUB",
    description="",
    customer_email="anna@shop.example",
    return_url="https://shop.example/thanks",
    metadata={"colour": "red"},
    idempotence_key="key",
    first_called_at=datetime(2026, 1, 1, tzinfo=UTC),
    provider_id=None,
    confirmation_url=None,
    cancellation_reason=None,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    paid_at=None,
)
REPLY = {
    "id": "22d6d597-000f-5000-9000-145f6df21d6f",
    "status": "succeeded",
    "amount": {"value": "100.00", "currency": "RUB"},
    "captured_at": "2026-01-01T10:00:00.123Z",
    "metadata": {"payment_id": ROW.payment_id},
}
NEW = NewPayment("A-17", Decimal("100.00"), "RUB", "anna@shop.example", "https://shop.example", metadata={"a": "b"})


def test_the_body_depends_on_nothing_that_changes_after_the_row_is_stored():
    later = replace(
        ROW, status=Status.PENDING, provider_id="x", confirmation_url="y", first_called_at=datetime.now(UTC)
    )
    assert json.dumps(ROW.request_body()) == json.dumps(later.request_body())


def test_the_body_names_our_payment_and_order():
    assert ROW.request_body()["metadata"] == {"colour": "red", "payment_id": ROW.payment_id, "order_id": "A-17"}


def test_the_description_fits_into_the_limit_of_yookassa():
    assert len(replace(ROW, order_id="x" * 128).request_body()["description"]) == 128


@given(st.decimals(min_value="0.01", max_value="9999999999.99", places=2))
def test_an_amount_reaches_yookassa_to_the_kopeck(amount):
    from yookassa.domain.request import PaymentRequest

    sent = dict(PaymentRequest(replace(ROW, amount=amount).request_body()))["amount"]
    assert Decimal(sent["value"]) == amount


def test_a_reply_is_read_whole():
    read = ProviderPayment.from_reply(REPLY)
    assert (read.status, read.amount, read.currency) == (Status.SUCCEEDED, Decimal("100.00"), "RUB")
    assert read.paid_at == datetime(2026, 1, 1, 10, 0, 0, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    "broken",
    [
        {"id": ""},
        {"status": "paid"},
        {"amount": None},
        {"amount": {"value": "NaN", "currency": "RUB"}},
        {"amount": {"value": 100.0, "currency": "RUB"}},
        {"amount": {"value": "ten", "currency": "RUB"}},
        {"metadata": "text"},
        {"captured_at": "2026-01-01T10:00:00"},
        {"captured_at": "yesterday"},
    ],
)
def test_a_reply_that_makes_no_sense_is_refused(broken):
    with pytest.raises(ValueError, match=r"YooKassa|Invalid isoformat|is not a valid Status"):
        ProviderPayment.from_reply({**REPLY, **broken})


def test_the_fingerprint_tells_bodies_apart_but_not_the_order_of_their_keys():
    two = replace(NEW, metadata={"x": "1", "y": "2"})
    assert fingerprint(two) == fingerprint(replace(two, metadata={"y": "2", "x": "1"}))
    assert fingerprint(NEW) != fingerprint(replace(NEW, amount=Decimal("100.01")))
    assert fingerprint(NEW) != fingerprint(replace(NEW, order_id="A-18"))


def test_a_payment_without_an_address_has_no_receipt():
    paid = replace(ROW, status=Status.SUCCEEDED, paid_at=datetime.now(UTC))
    assert replace(paid, customer_email=None).receipt_email() is None
    assert paid.receipt_email()["to"] == "anna@shop.example"
    assert json.dumps(paid.receipt_email())
