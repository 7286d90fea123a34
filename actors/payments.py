"""What happens with payments in the background: announcements are checked at YooKassa, unknown outcomes settled."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from actors.emails import send_email
from callboard.app import actor, get_pool, get_settings
from callboard.broker import completion, send_in
from callboard.errors import PermanentError, Postponed

if TYPE_CHECKING:
    from collections.abc import Callable

    from callboard.payments import Gateway, Payment, ProviderPayment, Settled


@actor(queue_name="payments")
def process_payment_event(event_id: int) -> None:
    """Ask YooKassa what became of an announced payment, move our row and send the receipt if it is paid.

    Nothing in the webhook is believed but the id. Twice, late or at once on two workers: one receipt.
    """
    from callboard import payments

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
        settled = _settled(connection, reported, is_supported=seen.is_supported)
        is_final = settled.payment is not None and settled.payment.status.is_final
        if now is not None and now.times_received != seen.times_received and not is_final:
            raise Postponed("The payment was announced again while it was being checked", wait_s=0)
        payments.close_announcement(cursor, event_id, settled.outcome)


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


def _settled(connection: Any, reported: ProviderPayment | None, *, is_supported: bool) -> Settled:
    from callboard.payments import Outcome, Settled

    if not is_supported:
        return Settled(Outcome.UNSUPPORTED)
    return Settled(Outcome.UNKNOWN_PAYMENT) if reported is None else settle_report(connection, reported)


def _ask(provider_id: str) -> ProviderPayment | None:
    """Return the payment as YooKassa knows it, or None if it knows none."""
    from callboard.payments import PaymentNotFound

    try:
        return _patiently(lambda: _gateway().find_payment(provider_id))
    except PaymentNotFound:
        return None


def _patiently(call: Callable[[], ProviderPayment]) -> ProviderPayment:
    """Turn what is nobody's failure here into a later run, which counts no retry."""
    from callboard.payments import YooKassaRateLimited, YooKassaUnavailable

    usual_wait_s = get_settings().yukassa_outage_wait_s
    try:
        return call()
    except YooKassaUnavailable as error:
        raise Postponed("YooKassa cannot be reached", wait_s=error.retry_after_s or usual_wait_s) from error
    except YooKassaRateLimited as error:
        raise Postponed("YooKassa limits our rate", wait_s=error.retry_after_s or usual_wait_s) from error


@cache
def _gateway() -> Gateway:
    from callboard.payments import Gateway

    return Gateway.from_settings(get_settings())
