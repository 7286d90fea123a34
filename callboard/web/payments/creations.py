"""How POST /payments ends: with YooKassa's answer where a slot is free for the wait, else with a worker's errand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from actors.payments import create_payment, settle_report
from callboard import payments
from callboard.broker import send_in
from callboard.log import get_logger
from callboard.payments import NewPayment, Payment, StoredResponse
from callboard.web.limits.lanes import Lane
from callboard.web.requests.answers import JsonAnswer
from callboard.web.requests.errors import ApiError
from callboard.web.state import State

log = get_logger(__name__)

#: Whoever was answered 202 comes again after this, s.
LATER_S = 5


def create_now(state: State, new: NewPayment, key: str) -> JsonAnswer:
    """Store the payment and ask YooKassa for it; 202 when the outcome stays unknown for as long as a request may take.

    Raises: ApiError.
    """
    with state.database(Lane.CREATIONS).cursor() as cursor:
        begun = _begin(cursor, new, key)
        if (known := _known_answer(cursor, begun, key)) is not None:
            return known
    payment = begun.payment
    try:
        reported = payments.create(state.gateway, payment, now=datetime.now(UTC), budget_s=state.create_budget_s)
    except (payments.YooKassaUnavailable, payments.YooKassaRateLimited) as error:
        return _go_on_later(state, key, payment, error.retry_after_s or 0)
    except (payments.PaymentRejected, payments.CredentialsRejected) as error:
        return _rejected(state, key, payment, error)
    except payments.RepeatWindowPassed as error:
        _release(state, key)
        raise ApiError(409, "outcome_unknown", str(error)) from error
    with state.database(Lane.CREATIONS).connection() as connection:
        settled = settle_report(connection, reported)
        if settled.outcome is payments.Outcome.MISMATCH or settled.payment is None:
            raise LookupError(f"YooKassa answered the creation of payment {payment.payment_id} with another payment.")
        with connection.cursor() as cursor:
            response = StoredResponse(201, settled.payment.view())
            payments.finish(cursor, key, response)
    return JsonAnswer(response.body, response.status)


def create_later(state: State, new: NewPayment, key: str) -> JsonAnswer:
    """Store the payment with its key and the message that creates it, all or nothing, and answer 202 at once.

    Raises: ApiError.
    """
    with state.database(Lane.CREATIONS).connection() as connection:
        with connection.cursor() as cursor:
            begun = _begin(cursor, new, key)
            if (known := _known_answer(cursor, begun, key)) is not None:
                return known
            payments.release(cursor, key)
        send_in(connection, _errand(begun.payment.payment_id))
    return _accepted(begun.payment)


def resume_stalled(state: State) -> int:
    """Hand what processes that died left behind to a worker, and return how many payments that were.

    Several processes may do so at once: the message of a payment is there once.
    """
    with state.database(Lane.CREATIONS).connection() as connection:
        with connection.cursor() as cursor:
            stalled = payments.find_stalled(cursor)
        if stalled:
            send_in(connection, *map(_errand, stalled))
            log.warning("stalled payment creations handed to a worker", count=len(stalled))
    return len(stalled)


def _begin(cursor: Any, new: NewPayment, key: str) -> payments.Begun:
    try:
        return payments.begin(cursor, new, key)
    except payments.KeyReused as error:
        raise ApiError(422, "idempotency_key_reused", str(error)) from error
    except payments.KeyInFlight as error:
        headers = {"Retry-After": str(error.retry_after_s)}
        raise ApiError(409, "idempotency_key_in_flight", str(error), headers=headers) from error


def _known_answer(cursor: Any, begun: payments.Begun, key: str) -> JsonAnswer | None:
    """Return what needs no call: the stored answer, or what a worker found out since an earlier request gave up."""
    response = begun.response
    if response is None:
        if begun.payment.provider_id is None and not begun.payment.status.is_final:
            return None
        response = StoredResponse(201, begun.payment.view())
        payments.finish(cursor, key, response)
    return JsonAnswer(response.body, response.status, headers={"Idempotent-Replayed": "true"})


def _errand(payment_id: str) -> Any:
    options: dict[str, Any] = {"dedupe_key": f"create-{payment_id}"}
    return create_payment.message_with_options(args=(payment_id,), **options)


def _go_on_later(state: State, key: str, payment: Payment, wait_s: float) -> JsonAnswer:
    """Hand a payment whose outcome is unknown to a worker, which repeats the same request until it is known."""
    with state.database(Lane.CREATIONS).connection() as connection:
        with connection.cursor() as cursor:
            payments.release(cursor, key)
        send_in(connection, _errand(payment.payment_id))
    log.warning("payment creation handed to a worker", payment_id=payment.payment_id)
    return _accepted(payment, wait_s)


def _accepted(payment: Payment, wait_s: float = 0) -> JsonAnswer:
    headers = {"Location": f"/payments/{payment.payment_id}", "Retry-After": str(max(int(wait_s), LATER_S))}
    return JsonAnswer(payment.view(), 202, headers=headers)


def _rejected(
    state: State, key: str, payment: Payment, error: payments.PaymentRejected | payments.CredentialsRejected
) -> JsonAnswer:
    """Answer for YooKassa's refusal; one that proves there is no payment is this key's answer for good."""
    if isinstance(error, payments.CredentialsRejected) or not error.proves_no_payment:
        log.error("payment creation refused", payment_id=payment.payment_id, status=error.status, code=error.code)
        _release(state, key)
        raise ApiError(502, "yookassa_refused", "YooKassa refused the shop's request. The log of the API says why.")
    details = [{"field": error.parameter or "body", "message": error.description or error.code}]
    refusal = ApiError(422, "payment_rejected", f"YooKassa rejected the payment ({error.code}).", details=details)
    with state.database(Lane.CREATIONS).cursor() as cursor:
        payments.record_rejection(cursor, payment.payment_id, error)
        payments.finish(cursor, key, StoredResponse(refusal.status, refusal.body))
    raise refusal


def _release(state: State, key: str) -> None:
    with state.database(Lane.CREATIONS).cursor() as cursor:
        payments.release(cursor, key)
