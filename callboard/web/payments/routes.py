"""POST /payments and GET /payments/{id}."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from callboard import payments
from callboard.errors import ConfigurationError
from callboard.web.limits.lanes import Lane
from callboard.web.payments.creations import create_later, create_now
from callboard.web.requests.access import require_token
from callboard.web.requests.answers import JsonAnswer
from callboard.web.requests.errors import ApiError
from callboard.web.requests.texts import Email, Text, WebAddress
from callboard.web.state import Client, CurrentState, through

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
async def post_payment(request: PaymentRequest, key: IdempotencyKey, state: CurrentState, client: Client) -> JsonAnswer:
    """Create a payment and return it with the address where the customer confirms it.

    202 means that YooKassa gave no answer in time, or that as many creations as may wait for it do so already. The
    payment is stored and the creation goes on in the background; ask GET /payments/{id}, or send the same again.
    """
    try:
        state.gateway  # noqa: B018 - refused before anything is stored
    except ConfigurationError as error:
        raise ApiError(503, "payments_not_configured", str(error)) from error
    waiting = state.gates[Lane.YOOKASSA]
    if not waiting.try_enter(client):
        return await state.gates[Lane.CREATIONS].run(client, create_later, state, request.as_new(), key)
    try:
        return await waiting.in_thread(create_now, state, request.as_new(), key)
    finally:
        waiting.leave(client)


@router.get("/{payment_id}", response_model=PaymentView, dependencies=[through(Lane.READS)])
def get_payment(payment_id: UUID, state: CurrentState) -> JsonAnswer:
    """Show a payment as we know it."""
    with state.database(Lane.READS).cursor() as cursor:
        payment = payments.find_payment(cursor, str(payment_id))
    if payment is None:
        raise ApiError(404, "not_found", f"There is no payment {payment_id}.")
    return JsonAnswer(payment.view())
