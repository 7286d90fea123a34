"""What answers of YooKassa, and of those who answer in its place, do to our rows and messages."""

from __future__ import annotations

import threading

import pytest

from actors import payments as payment_actors
from callboard import payments
from callboard.dev.yookassa import YooKassaSandbox
from callboard.dev.yookassa_faults import Fault
from callboard.errors import Postponed
from callboard.metrics import PAYMENT_EVENTS
from callboard.payments import Gateway, Status
from tests.conftest import wait_until
from tests.postgres.payments_service import make_service
from tests.unit.payments.stranger import HTML, Stranger, own_error


@pytest.fixture
def service(pool, monkeypatch):
    with YooKassaSandbox() as sandbox:
        yield make_service(pool, sandbox, monkeypatch)


@pytest.fixture
def stranger(service, monkeypatch):
    """Answers in YooKassa's place from the moment it is asked for."""
    with Stranger() as stranger:
        gateway = Gateway(shop_id="100500", secret_key="sandbox", api_url=stranger.url, timeout_s=2)
        monkeypatch.setattr(payment_actors, "_gateway", lambda: gateway)
        yield stranger


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 407, 410, 451, 502])
def test_a_proxys_page_settles_no_announcement_and_counts_no_retry(service, stranger, status):
    payment = service.find(service.begin().payment_id)
    event_id = service.announce("22d6d597-000f-5000-9000-145f6df21d6f")
    stranger.say(status, HTML, "text/html")
    with pytest.raises(Postponed):
        payment_actors.process_payment_event.fn(event_id)
    assert service.value("SELECT processed_at FROM callboard.payment_events") is None
    assert service.find(payment.payment_id) == payment


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 451])
def test_a_proxys_page_ends_no_creation(service, stranger, status):
    payment = service.begin()
    stranger.say(status, HTML, "text/html")
    with pytest.raises(Postponed):
        payment_actors.create_payment.fn(payment.payment_id)
    assert service.find(payment.payment_id).status is Status.CREATED


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_waited_for(service, stranger, status, monkeypatch):
    # Given an announcement and a creation, while the key is not taken
    payment = service.begin()
    event_id = service.announce("22d6d597-000f-5000-9000-145f6df21d6f")
    stranger.say(status, own_error(status))
    for run in (
        lambda: payment_actors.process_payment_event.fn(event_id),
        lambda: payment_actors.create_payment.fn(payment.payment_id),
    ):
        with pytest.raises(Postponed, match="credentials") as postponed:
            run()
        assert postponed.value.wait_s == service.settings.yukassa_outage_wait_s
    # When it is
    monkeypatch.setattr(payment_actors, "_gateway", lambda: service.gateway)
    payment_actors.create_payment.fn(payment.payment_id)
    # Then both go on
    assert service.find(payment.payment_id).status is Status.PENDING
    assert service.process(event_id) == "unknown_payment"


def counted(outcome):
    return PAYMENT_EVENTS.labels(outcome)._value.get()


def test_that_yookassa_does_not_know_a_payment_of_ours_is_a_mismatch_that_is_heard_of(service, stranger, caplog):
    created = service.begin()
    with service.pool.cursor() as cursor:
        cursor.execute("UPDATE callboard.payments SET provider_id = 'theirs', status = 'pending'")
    before = counted("mismatch")
    stranger.say(404, own_error(404))
    assert service.process(service.announce("theirs")) == "mismatch"
    assert service.find(created.payment_id).status is Status.PENDING
    assert counted("mismatch") == before + 1
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "payment mismatch found"
    ]


def test_that_yookassa_does_not_know_what_a_webhook_names_is_no_mismatch(service, stranger):
    stranger.say(404, own_error(404))
    before = counted("unknown_payment")
    assert service.process(service.announce("nobodys")) == "unknown_payment"
    assert counted("unknown_payment") == before + 1


def test_a_creation_that_is_answered_with_another_payment_goes_on_until_its_key_is_too_old(service, stranger):
    payment = service.begin()
    reply = {"id": "theirs", "status": "succeeded", "amount": {"value": "1.00", "currency": "RUB"}}
    stranger.say(200, reply | {"metadata": {"payment_id": payment.payment_id}})
    with pytest.raises(Postponed):
        payment_actors.create_payment.fn(payment.payment_id)
    assert service.find(payment.payment_id).provider_id is None


def test_calls_that_hang_leave_threads_to_other_queues(service, monkeypatch):
    # Given a process that makes one call to YooKassa at a time, and one that hangs
    lines = threading.BoundedSemaphore(1)
    monkeypatch.setattr(payment_actors, "_lines", lambda: lines)
    first, second = service.begin("one"), service.begin("two")
    service.sandbox.misbehave(Fault("timeout_after"))
    hanging = threading.Thread(target=_postponed, args=(first.payment_id,))
    monkeypatch.setattr(
        payment_actors,
        "_gateway",
        lambda: Gateway(shop_id="100500", secret_key="sandbox", api_url=service.sandbox.url, timeout_s=2),
    )
    hanging.start()
    wait_until(lambda: service.sandbox.books.as_json()["payments"], what="the call that hangs")
    # Then the next one does not wait for it, and comes again later
    with pytest.raises(Postponed, match="may wait for YooKassa"):
        payment_actors.create_payment.fn(second.payment_id)
    hanging.join()
    # And when that has ended it gets through
    payment_actors.create_payment.fn(second.payment_id)
    assert service.find(second.payment_id).status is Status.PENDING


def _postponed(payment_id):
    with pytest.raises(Postponed, match="cannot be reached"):
        payment_actors.create_payment.fn(payment_id)


# Creations that a dead process left behind


def stalled(service):
    with service.pool.cursor() as cursor:
        return payments.find_stalled(cursor)


def age(service, span):
    with service.pool.cursor() as cursor:
        cursor.execute("UPDATE callboard.payments SET created_at = created_at - %s::interval", (span,))


def test_a_creation_that_nobody_is_on_is_found_once_its_request_must_have_ended(service):
    payment = service.begin()
    assert stalled(service) == []
    age(service, "61 seconds")
    assert stalled(service) == [payment.payment_id]
    payment_actors.create_payment.fn(payment.payment_id)
    assert stalled(service) == []


def test_a_creation_whose_key_is_too_old_is_not_begun_again(service):
    service.begin()
    age(service, "20 hours")
    assert stalled(service) == []


def test_a_creation_that_is_a_dead_letter_is_left_to_whoever_reads_it(service):
    payment = service.begin()
    age(service, "2 minutes")
    with service.pool.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO callboard.dead_letters (message_id, reason, queue_name, message, priority, attempt, retries,
                lost_workers, generation, enqueued_at, dedupe_key)
            VALUES (gen_random_uuid(), 'permanent', 'payments', '{}', 0, 1, 0, 0, 0, now(), %s)""",
            (f"create-{payment.payment_id}",),
        )
    assert stalled(service) == []
