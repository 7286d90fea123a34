"""Payments on real Postgres and a real sandbox: one charge, one receipt, whatever comes twice, late or forged."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import psycopg2
import pytest

from actors import payments as payment_actors
from callboard import payments
from callboard.dev.yookassa import YooKassaSandbox
from callboard.dev.yookassa_faults import Fault
from callboard.errors import PermanentError, Postponed
from callboard.payments import KeyInFlight, KeyReused, Status, StoredResponse
from tests.postgres.payments_service import NEW, make_service


@pytest.fixture
def service(pool, monkeypatch):
    with YooKassaSandbox() as sandbox:
        yield make_service(pool, sandbox, monkeypatch)


def in_threads(count, work):
    errors = []

    def run():
        try:
            work()
        except Exception as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


# The caller's key


def test_a_payment_and_its_key_are_stored_together(service):
    payment = service.begin()
    assert (payment.status, payment.amount, payment.metadata) == (Status.CREATED, Decimal("100.00"), {})
    assert service.value("SELECT payment_id::text FROM callboard.idempotency_keys") == payment.payment_id


def test_the_same_key_with_another_body_is_refused(service):
    service.begin()
    with pytest.raises(KeyReused):
        service.begin(new=replace(NEW, amount=Decimal("100.01")))


def test_a_key_whose_request_is_not_answered_yet_must_wait(service):
    service.begin()
    with pytest.raises(KeyInFlight) as in_flight:
        service.begin()
    assert 1 <= in_flight.value.retry_after_s <= 5


def test_a_key_whose_request_died_is_taken_over_with_its_payment(service):
    with service.pool.cursor() as cursor:
        first = payments.begin(cursor, NEW, "key-1", lock_s=0).payment
    assert service.begin() == first
    with pytest.raises(KeyInFlight):
        service.begin()


def test_an_answered_key_gives_its_answer_again(service):
    service.begin()
    with service.pool.cursor() as cursor:
        payments.finish(cursor, "key-1", StoredResponse(201, {"id": "x"}))
        payments.finish(cursor, "key-1", StoredResponse(500, {}))
        assert payments.begin(cursor, NEW, "key-1").response == StoredResponse(201, {"id": "x"})


def test_twenty_requests_at_once_with_one_key_store_one_payment(service):
    errors = in_threads(8, service.begin)
    assert {type(error) for error in errors} == {KeyInFlight}
    assert len(errors) == 7
    assert service.value("SELECT count(*) FROM callboard.payments") == 1


@pytest.mark.parametrize(
    "text", ["'); DROP TABLE callboard.payments; --", "<script>alert(1)</script>", "%(key)s %s {x}"]
)
def test_hostile_text_is_stored_as_it_is(service, text):
    payment = service.begin(new=replace(NEW, order_id=text, description=text, metadata={"note": text}))
    assert (payment.order_id, payment.description, payment.metadata["note"]) == (text, text, text)


def test_the_database_refuses_money_and_states_that_make_no_sense(connection):
    insert = """
        INSERT INTO callboard.payments (payment_id, status, order_id, amount, currency, return_url, idempotence_key)
        VALUES (gen_random_uuid(), %s, 'A', %s, %s, '', gen_random_uuid()::text)"""
    for row in [("paid", 1, "RUB"), ("created", 0, "RUB"), ("created", 1, "rub")]:
        with connection.cursor() as cursor, pytest.raises(psycopg2.errors.CheckViolation):
            cursor.execute(insert, row)


# Creation at YooKassa


def test_creating_repeats_until_the_outcome_is_known(service):
    payment = service.begin()
    service.sandbox.misbehave(Fault("timeout_after"))
    with pytest.raises(Postponed, match="cannot be reached") as postponed:
        payment_actors.create_payment.fn(payment.payment_id)
    assert postponed.value.wait_s == service.settings.yukassa_outage_wait_s
    payment_actors.create_payment.fn(payment.payment_id)
    created = service.find(payment.payment_id)
    [booked] = service.sandbox.books.as_json()["payments"]
    assert (created.status, created.provider_id, booked["posts"]) == (Status.PENDING, booked["id"], 2)


def test_creating_what_is_created_asks_nobody(service):
    payment = service.create()
    payment_actors.create_payment.fn(payment.payment_id)
    assert service.sandbox.books.as_json()["payments"][0]["posts"] == 1


def test_creating_twice_at_once_makes_one_payment(service):
    payment = service.begin()
    assert in_threads(4, lambda: payment_actors.create_payment.fn(payment.payment_id)) == []
    assert len(service.sandbox.books.as_json()["payments"]) == 1


def test_a_rate_limit_postpones_for_as_long_as_yookassa_says(service):
    payment = service.begin()
    service.sandbox.misbehave(Fault("rate_limited", retry_after_ms=7000))
    with pytest.raises(Postponed, match="rate") as postponed:
        payment_actors.create_payment.fn(payment.payment_id)
    assert postponed.value.wait_s == 7


def test_a_rejected_payment_is_canceled_and_a_dead_letter(service):
    payment = service.begin(new=replace(NEW, currency="XXX"))
    with pytest.raises(PermanentError, match="currency"):
        payment_actors.create_payment.fn(payment.payment_id)
    canceled = service.find(payment.payment_id)
    assert (canceled.status, canceled.cancellation_reason) == (Status.CANCELED, "rejected: invalid_request")


def test_a_key_older_than_twenty_hours_is_not_sent_again(service):
    payment = service.begin()
    with service.pool.cursor() as cursor:
        cursor.execute("UPDATE callboard.payments SET first_called_at = now() - interval '20 hours'")
    with pytest.raises(PermanentError, match="second charge"):
        payment_actors.create_payment.fn(payment.payment_id)
    assert service.sandbox.books.as_json()["payments"] == []


@pytest.mark.parametrize("payment_id", ["7d5f3c1e-0000-4000-8000-000000000001", "none", "'; --"])
def test_creating_an_unknown_payment_is_permanent(service, payment_id):
    with pytest.raises(PermanentError, match="There is no payment"):
        payment_actors.create_payment.fn(payment_id)


# Announcements


def test_a_paid_payment_gets_its_receipt_with_the_move(service):
    payment = service.create()
    service.sandbox.confirm(payment.provider_id)
    assert service.process(service.announce(payment.provider_id)) == "moved"
    paid = service.find(payment.payment_id)
    assert paid.status is Status.SUCCEEDED
    [receipt] = service.receipts()
    assert receipt == {
        "to": "anna@shop.example",
        "template": "receipt",
        "context": {
            "order_id": "A-17",
            "amount": "100.00",
            "currency": "RUB",
            "paid_at": paid.paid_at.isoformat(),
            "payment_id": payment.payment_id,
        },
        "attach": ["receipt"],
    }


def test_the_same_announcement_twice_sends_one_receipt(service):
    payment = service.create()
    service.sandbox.confirm(payment.provider_id)
    event_id = service.announce(payment.provider_id)
    assert [service.process(event_id), service.process(event_id)] == ["moved", "unchanged"]
    assert len(service.receipts()) == 1


def test_announcements_processed_at_once_send_one_receipt(service):
    payment = service.create()
    service.sandbox.confirm(payment.provider_id)
    events = [service.announce(payment.provider_id, f"payment.{name}") for name in ("succeeded", "waiting_for_capture")]
    waiting = iter(events * 3)
    lock = threading.Lock()

    def work():
        with lock:
            event_id = next(waiting)
        payment_actors.process_payment_event.fn(event_id)

    assert in_threads(6, work) == []
    assert len(service.receipts()) == 1


def test_an_announcement_out_of_order_does_not_move_a_payment_back(service):
    payment = service.create()
    service.sandbox.confirm(payment.provider_id)
    service.process(service.announce(payment.provider_id))
    assert service.process(service.announce(payment.provider_id, "payment.waiting_for_capture")) == "unchanged"
    assert service.find(payment.payment_id).status is Status.SUCCEEDED


def test_a_canceled_payment_keeps_its_reason_and_gets_no_receipt(service):
    payment = service.create()
    service.sandbox.cancel(payment.provider_id)
    assert service.process(service.announce(payment.provider_id, "payment.canceled")) == "moved"
    canceled = service.find(payment.payment_id)
    assert (canceled.status, canceled.cancellation_reason) == (Status.CANCELED, "expired_on_confirmation")
    assert (canceled.paid_at, service.receipts()) == (None, [])


def test_a_forged_success_changes_nothing(service):
    payment = service.create()
    assert service.process(service.announce(payment.provider_id)) == "unchanged"
    assert service.find(payment.payment_id).status is Status.PENDING
    assert service.receipts() == []


def test_a_success_that_was_forged_before_is_still_processed_when_it_comes_true(service):
    payment = service.create()
    service.process(service.announce(payment.provider_id))
    service.sandbox.confirm(payment.provider_id)
    with service.pool.cursor() as cursor:
        again = payments.record_announcement(
            cursor, provider_object_id=payment.provider_id, event="payment.succeeded", received_from=None
        )
    assert (again.needs_processing, again.times_received) == (True, 2)
    assert service.process(again.event_id) == "moved"
    assert len(service.receipts()) == 1


def test_a_settled_announcement_needs_no_processing_when_it_comes_again(service):
    payment = service.create()
    service.sandbox.confirm(payment.provider_id)
    service.process(service.announce(payment.provider_id))
    with service.pool.cursor() as cursor:
        assert not payments.record_announcement(
            cursor, provider_object_id=payment.provider_id, event="payment.succeeded", received_from=None
        ).needs_processing


def test_an_announcement_repeated_during_the_check_is_checked_again(service, monkeypatch):
    payment = service.create()
    event_id = service.announce(payment.provider_id)
    real_ask = payment_actors._ask

    def ask_then_pay(provider_id):
        seen = real_ask(provider_id)
        if seen.status is Status.PENDING:
            service.sandbox.confirm(provider_id)
            service.announce(provider_id)
        return seen

    monkeypatch.setattr(payment_actors, "_ask", ask_then_pay)
    with pytest.raises(Postponed, match="announced again"):
        payment_actors.process_payment_event.fn(event_id)
    assert service.process(event_id) == "moved"
    assert len(service.receipts()) == 1


def test_a_payment_announced_before_its_creation_was_known_is_adopted(service):
    payment = service.begin()
    service.sandbox.misbehave(Fault("timeout_after"))
    with pytest.raises(Postponed):
        payment_actors.create_payment.fn(payment.payment_id)
    [booked] = service.sandbox.books.as_json()["payments"]
    service.sandbox.confirm(booked["id"])
    assert service.process(service.announce(booked["id"])) == "moved"
    adopted = service.find(payment.payment_id)
    assert (adopted.provider_id, adopted.status) == (booked["id"], Status.SUCCEEDED)
    payment_actors.create_payment.fn(payment.payment_id)
    assert len(service.receipts()) == 1


def test_a_payment_of_somebody_else_is_unknown(service):
    foreign = service.gateway.create_payment(replace(service.begin(), payment_id="not-ours", idempotence_key="other"))
    assert service.process(service.announce(foreign.provider_id)) == "unknown_payment"


@pytest.mark.parametrize("object_id", ["2cbf7d0e-000f-5000-9000-145f6df21d6f", "x"])
def test_a_payment_that_yookassa_does_not_know_is_unknown(service, object_id):
    assert service.process(service.announce(object_id)) == "unknown_payment"


def test_a_payment_over_another_amount_is_a_mismatch(service):
    payment = service.begin()
    other = service.gateway.create_payment(replace(payment, amount=Decimal("1.00")))
    service.sandbox.confirm(other.provider_id)
    assert service.process(service.announce(other.provider_id)) == "mismatch"
    assert (service.find(payment.payment_id).status, service.receipts()) == (Status.CREATED, [])


def test_a_second_payment_that_claims_our_row_is_a_mismatch(service):
    payment = service.create()
    second = service.gateway.create_payment(replace(payment, idempotence_key="another"))
    service.sandbox.confirm(second.provider_id)
    assert service.process(service.announce(second.provider_id)) == "mismatch"
    assert service.find(payment.payment_id).status is Status.PENDING


def test_a_report_that_denies_a_final_state_is_a_mismatch(service):
    payment = service.create()
    service.sandbox.confirm(payment.provider_id)
    service.process(service.announce(payment.provider_id))
    denial = replace(service.gateway.find_payment(payment.provider_id), status=Status.CANCELED)
    with service.pool.cursor() as cursor:
        assert payments.settle(cursor, denial).outcome is payments.Outcome.MISMATCH


def test_an_event_about_something_else_is_kept_and_left(service):
    assert service.process(service.announce("refund-1", "refund.succeeded")) == "unsupported"


def test_yookassa_down_postpones_and_writes_nothing(service):
    payment = service.create()
    event_id = service.announce(payment.provider_id)
    service.sandbox.misbehave(Fault("unavailable", operation="find"))
    with pytest.raises(Postponed, match="YooKassa cannot be reached"):
        payment_actors.process_payment_event.fn(event_id)
    assert service.value("SELECT processed_at FROM callboard.payment_events") is None


def test_an_event_that_is_gone_is_permanent(service):
    with pytest.raises(PermanentError, match="no payment event 4711"):
        payment_actors.process_payment_event.fn(4711)


def test_a_receipt_that_cannot_be_enqueued_leaves_the_payment_unmoved(service, monkeypatch):
    payment = service.create()
    service.sandbox.confirm(payment.provider_id)
    event_id = service.announce(payment.provider_id)

    def die(*_):
        raise ConnectionError("the process dies here")

    with monkeypatch.context() as broken:
        broken.setattr(payment_actors, "send_in", die)
        with pytest.raises(ConnectionError):
            payment_actors.process_payment_event.fn(event_id)
    assert service.find(payment.payment_id).status is Status.PENDING
    assert service.process(event_id) == "moved"
    assert len(service.receipts()) == 1


def test_moments_of_a_payment_are_utc(service):
    payment = service.create()
    assert payment.created_at.utcoffset() == datetime.now(UTC).utcoffset()
