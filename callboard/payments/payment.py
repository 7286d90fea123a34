"""A payment as asked for, as our row and as YooKassa reports it; and the body that makes one of the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from callboard.payments.status import Status

#: YooKassa's limit of a description.
DESCRIPTION_MAX = 128


@dataclass(frozen=True)
class NewPayment:
    """What a caller of POST /payments asks for; amount has two decimals at most."""

    order_id: str
    amount: Decimal
    currency: str
    customer_email: str
    return_url: str
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Payment:
    """One row of callboard.payments."""

    payment_id: str
    status: Status
    order_id: str
    amount: Decimal
    currency: str
    description: str
    customer_email: str | None
    return_url: str
    metadata: Mapping[str, str]
    idempotence_key: str
    first_called_at: datetime
    provider_id: str | None
    confirmation_url: str | None
    cancellation_reason: str | None
    created_at: datetime
    paid_at: datetime | None

    def view(self) -> dict[str, Any]:
        """Return what the API shows of the payment, ready for JSON."""
        return {
            "id": self.payment_id,
            "status": str(self.status),
            "order_id": self.order_id,
            "amount": {"value": f"{self.amount:.2f}", "currency": self.currency},
            "description": self.description,
            "metadata": dict(self.metadata),
            "confirmation_url": self.confirmation_url,
            "cancellation_reason": self.cancellation_reason,
            "created_at": self.created_at.isoformat(),
            "paid_at": self.paid_at.isoformat() if self.paid_at else None,
        }

    def request_body(self) -> dict[str, Any]:
        """Return the body that creates the payment at YooKassa.

        It depends on nothing but the stored row: the same Idempotence-Key with another body is refused.
        """
        return {
            "amount": {"value": f"{self.amount:.2f}", "currency": self.currency},
            "capture": True,
            "confirmation": {"type": "redirect", "return_url": self.return_url},
            "description": (self.description or f"Order {self.order_id}")[:DESCRIPTION_MAX],
            "metadata": {**self.metadata, "payment_id": self.payment_id, "order_id": self.order_id},
        }

    def receipt_email(self) -> dict[str, Any] | None:
        """Return the keyword arguments of the receipt's send_email, or None without an address."""
        if not self.customer_email or self.paid_at is None:
            return None
        context = {
            "order_id": self.order_id,
            "amount": f"{self.amount:.2f}",
            "currency": self.currency,
            "paid_at": self.paid_at.isoformat(),
            "payment_id": self.payment_id,
        }
        return {"to": self.customer_email, "template": "receipt", "context": context, "attach": ["receipt"]}


@dataclass(frozen=True)
class ProviderPayment:
    """A payment as YooKassa reports it; payment_id is the one we put into its metadata."""

    provider_id: str
    status: Status
    amount: Decimal
    currency: str
    payment_id: str | None
    confirmation_url: str | None = None
    cancellation_reason: str | None = None
    paid_at: datetime | None = None
    shop_id: str | None = None

    @classmethod
    def from_reply(cls, reply: Mapping[str, Any]) -> ProviderPayment:
        """Read YooKassa's JSON.

        Read by hand because the SDK's response classes pass amounts through float.
        Raises: ValueError when something that money depends on is missing or makes no sense.
        """
        try:
            amount = reply["amount"]
            return cls(
                provider_id=_text(reply["id"]),
                status=Status(reply["status"]),
                amount=_money(amount["value"]),
                currency=_text(amount["currency"]),
                payment_id=_text_or_none((reply.get("metadata") or {}).get("payment_id")),
                confirmation_url=_text_or_none((reply.get("confirmation") or {}).get("confirmation_url")),
                cancellation_reason=_text_or_none((reply.get("cancellation_details") or {}).get("reason")),
                paid_at=_moment(reply.get("captured_at")),
                shop_id=_text_or_none((reply.get("recipient") or {}).get("account_id")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"The payment in YooKassa's answer is incomplete: {error!r}.") from error


def fingerprint(new: NewPayment) -> str:
    """Return the hash that tells two requests with one Idempotency-Key apart; spaces and key order do not count."""
    text = json.dumps({**asdict(new), "amount": f"{new.amount:.2f}"}, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _text(value: object) -> str:
    # Printable text is what Postgres can store: no NUL, no half of a surrogate pair.
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"YooKassa's answer holds {str(value)[:100]!r} where a text belongs.")
    return value


def _text_or_none(value: object) -> str | None:
    """Return what the payment can do without; what somebody else's system put there is no reason to refuse it."""
    try:
        return _text(value)
    except ValueError:
        return None


def _money(value: object) -> Decimal:
    try:
        money = Decimal(_text(value))
    except InvalidOperation as error:
        raise ValueError(f"YooKassa's answer holds {value!r} where an amount belongs.") from error
    if not money.is_finite():
        raise ValueError(f"YooKassa's answer holds {value!r} where an amount belongs.")
    return money


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError(f"YooKassa's answer holds the time {value!r} without a zone.")
    return moment
