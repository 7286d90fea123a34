"""What a report of YooKassa does to our row: checked against it, it moves the row forward or changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from callboard.log import get_logger
from callboard.payments.payment import Payment, ProviderPayment
from callboard.payments.status import Status, advance, contradicts
from callboard.payments.store import fetch, lock_reported

log = get_logger(__name__)


class Outcome(StrEnum):
    """What processing an announcement did."""

    MOVED = "moved"
    UNCHANGED = "unchanged"
    UNKNOWN_PAYMENT = "unknown_payment"
    MISMATCH = "mismatch"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Settled:
    """The row after a report; is_newly_paid is true exactly once in the life of a payment."""

    outcome: Outcome
    payment: Payment | None = None
    is_newly_paid: bool = False


def settle(cursor: Any, reported: ProviderPayment) -> Settled:
    """Lock the row that a report speaks of and move it forward.

    Call it in the transaction that also sends the receipt: the row lock makes concurrent reports wait,
    and whoever finds the row succeeded already sends nothing.
    """
    payment = lock_reported(cursor, reported)
    if payment is None:
        log.warning("unknown payment reported", provider_id=reported.provider_id, status=str(reported.status))
        return Settled(Outcome.UNKNOWN_PAYMENT)
    difference = _difference(payment, reported)
    if difference:
        log.error(
            "payment mismatch found", payment_id=payment.payment_id, provider_id=reported.provider_id, **difference
        )
        return Settled(Outcome.MISMATCH, payment)
    status = advance(payment.status, reported.status)
    if status is payment.status and payment.provider_id is not None:
        return Settled(Outcome.UNCHANGED, payment)
    moved = fetch(
        cursor,
        "payments/move_payment",
        {
            "payment_id": payment.payment_id,
            "status": status,
            "provider_id": reported.provider_id,
            "confirmation_url": reported.confirmation_url,
            "cancellation_reason": reported.cancellation_reason,
            "paid_at": reported.paid_at,
        },
    )
    log.info("payment moved", payment_id=payment.payment_id, from_status=str(payment.status), to_status=str(status))
    return Settled(Outcome.MOVED, moved, is_newly_paid=status is Status.SUCCEEDED)


def settle_absence(cursor: Any, provider_id: str) -> Settled:
    """Judge that YooKassa has no payment of this id: of one that we know, somebody has to find out what became of it.

    Raises nothing, and moves nothing: what YooKassa does not show is no proof that nobody paid.
    """
    payment = fetch(cursor, "payments/lock_payment_by_provider_id", {"provider_id": provider_id})
    if payment is None:
        log.warning("unknown payment announced", provider_id=provider_id)
        return Settled(Outcome.UNKNOWN_PAYMENT)
    log.error(
        "payment mismatch found",
        payment_id=payment.payment_id,
        provider_id=provider_id,
        status=str(payment.status),
        reported_status="not found",
    )
    return Settled(Outcome.MISMATCH, payment)


def _difference(payment: Payment, reported: ProviderPayment) -> dict[str, str]:
    """Return what a report says differently about things that must agree, as fields of a log line."""
    differences: dict[str, str] = {}
    if payment.provider_id not in (None, reported.provider_id):
        differences["known_provider_id"] = str(payment.provider_id)
    if str(reported.payment_id).lower() != payment.payment_id:
        differences["reported_payment_id"] = str(reported.payment_id)[:64]
    ours, theirs = (payment.amount, payment.currency), (reported.amount, reported.currency)
    if ours != theirs:
        differences["amount"] = f"{ours[0]} {ours[1]}"
        differences["reported_amount"] = f"{theirs[0]} {theirs[1]}"
    if contradicts(payment.status, reported.status):
        differences["status"] = str(payment.status)
        differences["reported_status"] = str(reported.status)
    return differences
