"""POST /payments and GET /payments/{id}."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from actors.payments import create_payment, settle_report
from callboard import payments
from callboard.broker import send_in
from callboard.errors import ConfigurationError
from callboard.log import get_logger
from callboard.payments import Payment, StoredResponse
from callboard.web.access import require_token
from callboard.web.errors import ApiError
from callboard.web.state import CurrentState, State
from callboard.web.texts import Email, Text, WebAddress

log = get_logger(__name__)
router = APIRouter(prefix="/payments", tags=["payments"], dependencies=[Depends(require_token)])

#: What we put into YooKassa's metadata ourselves; it takes 16 keys in all.
OWN_METADATA = ("payment_id", "order_id", "cms_name")
METADATA_MAX = 13


def _is_positive(value: str) -> str:
    if Decimal(value) <= 0:
        raise ValueError("must be more than zero")
    return value


def _is_not_ours(metadata: dict[str, str]) -> dict[str, str]:
    if taken := sorted(set(OWN_METADATA) & metadata.keys()):
        raise ValueError(f"must not use {', '.join(taken)}: Callboard sets them itself")
    return metadata


MetadataKey = Annotated[Text, Field(min_length=1, max_length=32)]
MetadataValue = Annotated[Text, Field(max_length=512)]
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=64,
        pattern=r"^[0-9A-Za-z+._-]+$",
        description="Names this payment. Sent again with the same body it gets the same answer, no second payment.",
    ),
]


class Amount(BaseModel):
    """Money; value is text, because a JSON number is no exact amount."""

    model_config = ConfigDict(extra="forbid")

    value: Annotated[
        str, Field(pattern=r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,2})?$", examples=["100.00"]), AfterValidator(_is_positive)
    ]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["RUB"])]


class PaymentRequest(BaseModel):
    """What a shop asks for."""

    model_config = ConfigDict(extra="forbid")

    order_id: Annotated[Text, Field(min_length=1, max_length=128)]
    amount: Amount
    customer_email: Email
    return_url: WebAddress
    description: Annotated[Text, Field(max_length=128)] = ""
    metadata: Annotated[
        dict[MetadataKey, MetadataValue], Field(max_length=METADATA_MAX), AfterValidator(_is_not_ours)
    ] = {}

    def as_new(self) -> payments.NewPayment:
        """Return the request without its HTTP."""
        return payments.NewPayment(
            order_id=self.order_id,
            amount=Decimal(self.amount.value).quantize(Decimal("0.01")),
            currency=self.amount.currency,
            customer_email=self.customer_email,
            return_url=self.return_url,
            description=self.description,
            metadata=self.metadata,
        )


class PaymentView(BaseModel):
    """A payment as the API shows it."""

    id: UUID
    status: payments.Status
    order_id: str
    amount: dict[str, str]
    description: str
    metadata: dict[str, str]
    confirmation_url: str | None
    cancellation_reason: str | None
    created_at: datetime
    paid_at: datetime | None


@router.post(
    "",
    status_code=201,
    response_model=PaymentView,
    responses={202: {"model": PaymentView, "description": "Stored; YooKassa's answer is still awaited."}},
)
def post_payment(request: PaymentRequest, key: IdempotencyKey, state: CurrentState) -> JSONResponse:
    """Create a payment and return it with the address where the customer confirms it.

    202 means that YooKassa gave no answer in time. The payment is stored and the creation goes on in the background;
    ask GET /payments/{id}, or send the same request again.
    """
    try:
        gateway = state.gateway
    except ConfigurationError as error:
        raise ApiError(503, "payments_not_configured", str(error)) from error
    begun = _begin(state, request, key)
    payment = begun.payment
    if begun.response is not None:
        return JSONResponse(begun.response.body, begun.response.status, headers={"Idempotent-Replayed": "true"})
    if payment.provider_id is not None or payment.status.is_final:
        # An earlier request stopped waiting, and a worker found out since.
        return _answered(state, key, payment, headers={"Idempotent-Replayed": "true"})
    try:
        reported = payments.create(gateway, payment, now=datetime.now(UTC), budget_s=state.create_budget_s)
    except (payments.YooKassaUnavailable, payments.YooKassaRateLimited) as error:
        return _go_on_later(state, key, payment, error.retry_after_s or 0)
    except payments.PaymentRejected as error:
        return _rejected(state, key, payment, error)
    except payments.RepeatWindowPassed as error:
        _release(state, key)
        raise ApiError(409, "outcome_unknown", str(error)) from error
    with state.pool.connection() as connection:
        settled = settle_report(connection, reported)
        if settled.outcome is payments.Outcome.MISMATCH or settled.payment is None:
            raise LookupError(f"YooKassa answered the creation of payment {payment.payment_id} with another payment.")
        with connection.cursor() as cursor:
            response = StoredResponse(201, settled.payment.view())
            payments.finish(cursor, key, response)
    return JSONResponse(response.body, response.status)


@router.get("/{payment_id}", response_model=PaymentView)
def get_payment(payment_id: UUID, state: CurrentState) -> JSONResponse:
    """Show a payment as we know it."""
    with state.pool.cursor() as cursor:
        payment = payments.find_payment(cursor, str(payment_id))
    if payment is None:
        raise ApiError(404, "not_found", f"There is no payment {payment_id}.")
    return JSONResponse(payment.view())


def _begin(state: State, request: PaymentRequest, key: str) -> payments.Begun:
    try:
        with state.pool.cursor() as cursor:
            return payments.begin(cursor, request.as_new(), key)
    except payments.KeyReused as error:
        raise ApiError(422, "idempotency_key_reused", str(error)) from error
    except payments.KeyInFlight as error:
        headers = {"Retry-After": str(error.retry_after_s)}
        raise ApiError(409, "idempotency_key_in_flight", str(error), headers=headers) from error


def _go_on_later(state: State, key: str, payment: Payment, wait_s: float) -> JSONResponse:
    """Hand a payment whose outcome is unknown to a worker, which repeats the same request until it is known."""
    options: dict[str, Any] = {"dedupe_key": f"create-{payment.payment_id}"}
    message = create_payment.message_with_options(args=(payment.payment_id,), **options)
    with state.pool.connection() as connection:
        with connection.cursor() as cursor:
            payments.release(cursor, key)
        send_in(connection, message)
    log.warning("payment creation handed to a worker", payment_id=payment.payment_id)
    return JSONResponse(payment.view(), 202, headers={"Retry-After": str(max(int(wait_s), 5))})


def _rejected(state: State, key: str, payment: Payment, error: payments.PaymentRejected) -> JSONResponse:
    """Answer for YooKassa's refusal; one that proves there is no payment is this key's answer for good."""
    if not error.proves_no_payment:
        log.error("payment creation refused", payment_id=payment.payment_id, status=error.status, code=error.code)
        _release(state, key)
        raise ApiError(502, "yookassa_refused", "YooKassa refused the shop's request. The log of the API says why.")
    details = [{"field": error.parameter or "body", "message": error.description or error.code}]
    refusal = ApiError(422, "payment_rejected", f"YooKassa rejected the payment ({error.code}).", details=details)
    with state.pool.cursor() as cursor:
        payments.record_rejection(cursor, payment.payment_id, error)
        payments.finish(cursor, key, StoredResponse(refusal.status, refusal.body))
    raise refusal


def _release(state: State, key: str) -> None:
    with state.pool.cursor() as cursor:
        payments.release(cursor, key)


def _answered(state: State, key: str, payment: Payment, headers: dict[str, str]) -> JSONResponse:
    response = StoredResponse(201, payment.view())
    with state.pool.cursor() as cursor:
        payments.finish(cursor, key, response)
    return JSONResponse(response.body, response.status, headers=headers)
