"""What happens with payments in the background: announcements are checked at YooKassa, unknown outcomes settled."""

from __future__ import annotations

from functools import cache
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from actors.emails import send_email
from callboard.app import actor, get_pool, get_settings
from callboard.broker import completion, send_in
from callboard.errors import PermanentError, Postponed

if TYPE_CHECKING:
    from collections.abc import Callable

    from callboard.payments import Announcement, Gateway, Payment, ProviderPayment, Settled

#: Wait for a call of another thread to end, and until the next try after that, s.
LINE_WAIT_S = 0.5
LINE_BUSY_S = 5


@actor(queue_name="payments")
def process_payment_event(event_id: int) -> None:
    """Ask YooKassa what became of an announced payment, move our row and send the receipt if it is paid.

    Nothing in the webhook is believed but the id. Twice, late or at once on two workers: one receipt.
    """
    from callboard import payments
    from callboard.metrics import PAYMENT_EVENTS

    with get_pool().cursor() as cursor:
        seen = payments.find_announcement(cursor, event_id)
    if seen is None:
        raise PermanentError(
            f"There is no payment event {event_id}. Its retention may have ended; nothing is to be done."
        )
    reported = _ask(seen.provider_object_id) if seen.is_supported else None
    with completion() as connection, connection.cursor() as cursor:
        # Repeats of this webhook wait from here on, so that each is either seen here or enqueued after us.
        now = payments.find_announcement(cursor, event_id, is_locked=True)
        settled = _settled(connection, seen, reported)
        is_final = settled.payment is not None and settled.payment.status.is_final
        if now is not None and now.times_received != seen.times_received and not is_final:
            raise Postponed("The payment was announced again while it was being checked", wait_s=0)
        payments.close_announcement(cursor, event_id, settled.outcome)
    PAYMENT_EVENTS.labels(settled.outcome).inc()


@actor(queue_name="payments")
def create_payment(payment_id: str) -> None:
    """Repeat the creation of a payment whose outcome is unknown, with the same key, until it is known."""
    from datetime import UTC, datetime

    from callboard import payments

    with get_pool().cursor() as cursor:
        payment = payments.find_payment(cursor, payment_id)
    if payment is None:
        raise PermanentError(f"There is no payment {payment_id}. Nothing was charged for it here.")
    if payment.provider_id is not None or payment.status.is_final:
        return
    try:
        reported = _patiently(lambda: payments.create(_gateway(), payment, now=datetime.now(UTC)))
    except payments.PaymentRejected as error:
        with get_pool().cursor() as cursor:
            payments.record_rejection(cursor, payment_id, error)
        raise
    with completion() as connection:
        settle_report(connection, reported)


def settle_report(connection: Any, reported: ProviderPayment) -> Settled:
    """Move our row by a report of YooKassa and send the receipt if that made it paid, in the caller's transaction."""
    from callboard import payments

    with connection.cursor() as cursor:
        settled = payments.settle(cursor, reported)
    if settled.is_newly_paid and settled.payment is not None:
        _send_receipt(connection, settled.payment)
    return settled


def _send_receipt(connection: Any, payment: Payment) -> None:
    email = payment.receipt_email()
    if email is not None:
        send_in(connection, send_email.message(**email))


def _settled(connection: Any, seen: Announcement, reported: ProviderPayment | None) -> Settled:
    from callboard import payments

    if not seen.is_supported:
        return payments.Settled(payments.Outcome.UNSUPPORTED)
    if reported is not None:
        return settle_report(connection, reported)
    with connection.cursor() as cursor:
        return payments.settle_absence(cursor, seen.provider_object_id)


def _ask(provider_id: str) -> ProviderPayment | None:
    """Return the payment as YooKassa knows it, or None if it knows none."""
    from callboard.payments import PaymentNotFound

    try:
        return _patiently(lambda: _gateway().find_payment(provider_id))
    except PaymentNotFound:
        return None


def _patiently(call: Callable[[], ProviderPayment]) -> ProviderPayment:
    """Turn what is nobody's failure here into a later run, which counts no retry."""
    from callboard.payments import CredentialsRejected, YooKassaRateLimited, YooKassaUnavailable

    usual_wait_s = get_settings().yukassa_outage_wait_s
    if not _lines().acquire(timeout=LINE_WAIT_S):
        raise Postponed("As many calls as may wait for YooKassa do so already", wait_s=LINE_BUSY_S)
    try:
        return call()
    except YooKassaUnavailable as error:
        raise Postponed("YooKassa cannot be reached", wait_s=error.retry_after_s or usual_wait_s) from error
    except YooKassaRateLimited as error:
        raise Postponed("YooKassa limits our rate", wait_s=error.retry_after_s or usual_wait_s) from error
    except CredentialsRejected as error:
        raise Postponed(f"YooKassa refuses the shop's credentials ({error.code})", wait_s=usual_wait_s) from error
    finally:
        _lines().release()


@cache
def _lines() -> BoundedSemaphore:
    """Return the calls that this process makes at once: a provider that hangs leaves half of its threads to others."""
    return BoundedSemaphore(max(get_settings().job_concurrency // 2, 1))


@cache
def _gateway() -> Gateway:
    from callboard.payments import Gateway

    return Gateway.from_settings(get_settings())
