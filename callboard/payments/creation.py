"""Making a payment exactly once: the row and both keys are stored first, then YooKassa is asked, again if need be.

1. begin      stores our row, YooKassa's Idempotence-Key and the caller's Idempotency-Key in one transaction
2. create     asks YooKassa; a repeat sends the same body with the same key, so it finds the first payment
3. finish     stores the answer with the caller's key, in the transaction that moves our row
   release    lets the caller's key go without an answer: nobody knows it yet

A process that dies after 1 has given no payment link to anybody. The caller's repeat takes the key over when its
lock has run out and goes on at 2; without one find_stalled() finds the payment, and a worker goes on at 2.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from psycopg2.extras import Json

from callboard.db import sql
from callboard.log import get_logger
from callboard.payments.errors import (
    KeyInFlight,
    KeyReused,
    PaymentRejected,
    RepeatWindowPassed,
    YooKassaUnavailable,
)
from callboard.payments.payment import NewPayment, Payment, ProviderPayment, fingerprint
from callboard.payments.status import Status
from callboard.payments.store import fetch, find_payment, lock_payment

if TYPE_CHECKING:
    from callboard.payments.gateway import Gateway

log = get_logger(__name__)

#: YooKassa forgets a key after 24 h and would then take a repeat for a new payment.
REPEAT_WINDOW = timedelta(hours=20)
#: How long a request may hold the caller's key before another may take it over, s.
LOCK_S = 60
#: Part of the budget that the first call gets; the rest is for its repeat.
FIRST_SHARE = 0.6
#: A shorter call is not worth making, s.
SHORTEST_CALL_S = 0.5
_KEY_NAMESPACE = uuid5(NAMESPACE_URL, "callboard:payments")


@dataclass(frozen=True)
class StoredResponse:
    """What a caller's key was answered with."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class Begun:
    """The stored payment, and the answer its key got earlier, if any."""

    payment: Payment
    response: StoredResponse | None = None


def begin(cursor: Any, new: NewPayment, key: str, *, lock_s: float = LOCK_S) -> Begun:
    """Store a new payment under the caller's key, or find what an earlier request with it stored.

    Raises: KeyReused (other body), KeyInFlight (the earlier request is not answered yet).
    """
    payment_id = uuid4()
    parameters = {
        "payment_id": str(payment_id),
        "order_id": new.order_id,
        "amount": new.amount,
        "currency": new.currency,
        "description": new.description,
        "customer_email": new.customer_email,
        "return_url": new.return_url,
        "metadata": Json(dict(new.metadata)),
        "idempotence_key": str(uuid5(_KEY_NAMESPACE, f"payment:{payment_id}:create")),
        "key": key,
        "request_sha256": fingerprint(new),
        "lock_s": lock_s,
    }
    payment = fetch(cursor, "payments/begin_payment", parameters)
    return Begun(payment) if payment is not None else _begun_before(cursor, parameters)


def _begun_before(cursor: Any, parameters: dict[str, Any]) -> Begun:
    cursor.execute(sql("payments/lock_idempotency_key"), parameters)
    row = cursor.fetchone()
    if row is None:  # Its retention ended between the two statements.
        raise KeyInFlight("This Idempotency-Key is being removed. Send the request again.", retry_after_s=1)
    request_sha256, payment_id, wait_s, status, body = row
    if request_sha256 != parameters["request_sha256"]:
        raise KeyReused("This Idempotency-Key was used with another body. Use a new key for a new payment.")
    payment = find_payment(cursor, payment_id)
    if payment is None:
        raise LookupError(f"Payment {payment_id} of an Idempotency-Key is gone.")
    if status is not None:
        return Begun(payment, StoredResponse(status, body))
    if wait_s > 0:
        raise KeyInFlight(
            "A request with this Idempotency-Key is still being answered. Send it again later.",
            retry_after_s=min(max(int(wait_s), 1), 5),
        )
    cursor.execute(sql("payments/take_idempotency_key"), parameters)
    return Begun(payment)


def create(gateway: Gateway, payment: Payment, *, now: datetime, budget_s: float | None = None) -> ProviderPayment:
    """Create the payment at YooKassa; with a budget, repeat once at once if the outcome is unknown.

    budget_s bounds all calls together. Raises: YooKassaUnavailable, YooKassaRateLimited, PaymentRejected,
    RepeatWindowPassed.
    """
    if now - payment.first_called_at >= REPEAT_WINDOW:
        raise RepeatWindowPassed(
            f"Payment {payment.payment_id} was first sent at {payment.first_called_at:%Y-%m-%d %H:%M} UTC, too long "
            f"ago to repeat without risking a second charge. Look for order {payment.order_id} in the shop's cabinet."
        )
    if budget_s is None:
        return gateway.create_payment(payment)
    until = time.monotonic() + budget_s
    try:
        return gateway.create_payment(payment, timeout_s=budget_s * FIRST_SHARE)
    except YooKassaUnavailable:
        left_s = until - time.monotonic()
        if left_s < SHORTEST_CALL_S:
            raise
        log.warning("payment creation repeated", payment_id=payment.payment_id)
        return gateway.create_payment(payment, timeout_s=left_s)


def finish(cursor: Any, key: str, response: StoredResponse) -> None:
    """Store what the caller's key is answered with from now on."""
    parameters = {"key": key, "status": response.status, "response": Json(response.body, dumps=_dumps)}
    cursor.execute(sql("payments/finish_idempotency_key"), parameters)


def release(cursor: Any, key: str) -> None:
    """Let the caller's key go without an answer, so that a repeat may go on where this request stopped."""
    cursor.execute(sql("payments/release_idempotency_key"), {"key": key})


def record_rejection(cursor: Any, payment_id: str, error: PaymentRejected) -> Payment | None:
    """Cancel our row when YooKassa's refusal proves that there is no payment; return the row as it is now."""
    payment = lock_payment(cursor, payment_id)
    if payment is None or payment.status is not Status.CREATED or not error.proves_no_payment:
        return payment
    log.warning("payment rejected", payment_id=payment_id, code=error.code, parameter=error.parameter)
    return fetch(
        cursor,
        "payments/move_payment",
        {
            "payment_id": payment_id,
            "status": Status.CANCELED,
            "provider_id": None,
            "confirmation_url": None,
            "cancellation_reason": f"rejected: {error.code or error.status}",
            "paid_at": None,
        },
    )


def find_stalled(cursor: Any) -> list[str]:
    """Return the payments that were stored and that nobody creates any more, because their process died."""
    cursor.execute(sql("payments/find_stalled_creations"), {"lock_s": LOCK_S})
    return [payment_id for (payment_id,) in cursor.fetchall()]


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)
