"""Payments that wait for a webhook that does not come: somebody hears of it."""

from __future__ import annotations

import pytest

from callboard.dev.yookassa import YooKassaSandbox
from callboard.payments import webhook_silence
from tests.postgres.payments_service import make_service


@pytest.fixture
def service(pool, monkeypatch):
    with YooKassaSandbox() as sandbox:
        yield make_service(pool, sandbox, monkeypatch)


def silence(service):
    with service.pool.cursor() as cursor:
        return webhook_silence(cursor)


def move(service, table, column, span):
    with service.pool.cursor() as cursor:
        cursor.execute(f"UPDATE callboard.{table} SET {column} = now() - %s::interval", (span,))


def test_payments_without_any_webhook_are_odd_once_they_must_have_been_announced(service):
    assert not silence(service).is_odd
    service.create()
    assert (silence(service).overdue, silence(service).is_odd) == (0, False)
    move(service, "payments", "created_at", "2 hours 1 minute")
    assert (silence(service).overdue, silence(service).seconds, silence(service).is_odd) == (1, float("inf"), True)


@pytest.mark.parametrize(("span", "is_odd"), [("1 hour", False), ("3 hours 1 minute", True)])
def test_a_webhook_of_late_shows_that_they_get_through(service, span, is_odd):
    service.create()
    move(service, "payments", "created_at", "5 hours")
    service.announce("another")
    move(service, "payment_events", "received_at", span)
    assert silence(service).is_odd is is_odd


def test_payments_that_ended_or_never_reached_yookassa_wait_for_nothing(service):
    payment = service.create("one")
    service.sandbox.confirm(payment.provider_id)
    service.process(service.announce(payment.provider_id))
    service.begin("two")
    move(service, "payments", "created_at", "5 hours")
    move(service, "payment_events", "received_at", "5 hours")
    assert (silence(service).overdue, silence(service).is_odd) == (0, False)
