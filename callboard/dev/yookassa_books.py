"""The sandbox's books: its payments, the keys it has seen, what it announced. The demo is checked against them."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

#: YooKassa forgets a key 24 h after its first use.
KEY_LIFETIME = timedelta(hours=24)
FINAL = ("succeeded", "canceled")


class Refused(Exception):
    """A request the API answers with an error of its own."""

    def __init__(self, status: int, code: str, description: str, **more: Any) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"type": "error", "id": str(uuid4()), "code": code, "description": description, **more}


@dataclass
class Entry:
    """One payment with what happened around it."""

    payment: dict[str, Any]
    is_captured_at_once: bool
    idempotence_keys: list[str] = field(default_factory=list)
    posts: int = 0
    webhooks: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Use:
    body: Any
    provider_id: str
    first_at: datetime


class Books:
    """All payments of the shop, safe to use from many threads."""

    def __init__(self, base_url: Callable[[], str], *, shop_id: str, now: Callable[[], datetime] | None = None) -> None:
        self._base_url = base_url
        self._shop_id = shop_id
        self._now = now or (lambda: datetime.now(UTC))
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._keys: dict[str, _Use] = {}

    def create(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create a payment, or return the one this key created within 24 h.

        Raises: Refused.
        """
        with self._lock:
            use = self._keys.get(key)
            if use is not None and self._now() - use.first_at < KEY_LIFETIME:
                if use.body != body:
                    raise _invalid("Idempotence key duplicated", "Idempotence-Key")
                entry = self._entries[use.provider_id]
            else:
                entry = Entry(self._payment(body), is_captured_at_once=body.get("capture") is True)
                entry.idempotence_keys.append(key)
                self._entries[entry.payment["id"]] = entry
                self._keys[key] = _Use(body, entry.payment["id"], self._now())
            entry.posts += 1
            return copy.deepcopy(entry.payment)

    def shop(self) -> dict[str, Any]:
        """Return the shop itself."""
        return {
            "account_id": self._shop_id,
            "status": "enabled",
            "test": True,
            "fiscalization": {"enabled": False},
            "fiscalization_enabled": False,
            "payment_methods": ["bank_card"],
        }

    def find(self, provider_id: str) -> dict[str, Any]:
        """Return a payment. Raises: Refused."""
        with self._lock:
            return copy.deepcopy(self._entry(provider_id).payment)

    def page(self, *, limit: int, cursor: str | None, created_since: str | None) -> dict[str, Any]:
        """Return payments, newest first, and the cursor of the next page."""
        with self._lock:
            payments = [entry.payment for entry in reversed(self._entries.values())]
            if created_since is not None:
                since = datetime.fromisoformat(created_since)
                payments = [item for item in payments if datetime.fromisoformat(item["created_at"]) >= since]
            ids = [item["id"] for item in payments]
            start = ids.index(cursor) if cursor in ids else 0
            page = {"type": "list", "items": copy.deepcopy(payments[start : start + limit])}
            if start + limit < len(payments):
                page["next_cursor"] = ids[start + limit]
            return page

    def confirm(self, provider_id: str) -> dict[str, Any]:
        """Pay as the customer does. Raises: Refused."""
        with self._lock:
            entry = self._entry(provider_id)
            _require(entry.payment, "pending")
            entry.payment.update(paid=True, payment_method=_card(provider_id))
            entry.payment.pop("confirmation", None)
            if entry.is_captured_at_once:
                self._capture(entry)
            else:
                expires_at = self._now() + timedelta(days=7)
                entry.payment.update(status="waiting_for_capture", expires_at=_stamp(expires_at))
            return copy.deepcopy(entry.payment)

    def capture(self, provider_id: str) -> dict[str, Any]:
        """Take the money that waits. Raises: Refused."""
        with self._lock:
            entry = self._entry(provider_id)
            _require(entry.payment, "waiting_for_capture")
            self._capture(entry)
            return copy.deepcopy(entry.payment)

    def cancel(self, provider_id: str, *, party: str, reason: str, states: tuple[str, ...]) -> dict[str, Any]:
        """Give up a payment in one of the states. Raises: Refused."""
        with self._lock:
            entry = self._entry(provider_id)
            _require(entry.payment, *states)
            entry.payment.pop("confirmation", None)
            entry.payment.update(status="canceled", paid=False, cancellation_details={"party": party, "reason": reason})
            return copy.deepcopy(entry.payment)

    def note_webhook(self, provider_id: str, delivery: dict[str, Any]) -> None:
        """Write down an announcement and how it was answered."""
        with self._lock:
            if provider_id in self._entries:
                self._entries[provider_id].webhooks.append(delivery)

    def as_json(self) -> dict[str, Any]:
        """Return everything, for whoever checks our tables against the outside."""
        with self._lock:
            return {
                "payments": [
                    {
                        "id": entry.payment["id"],
                        "status": entry.payment["status"],
                        "amount": dict(entry.payment["amount"]),
                        "metadata": dict(entry.payment["metadata"]),
                        "idempotence_keys": list(entry.idempotence_keys),
                        "posts": entry.posts,
                        "webhooks": copy.deepcopy(entry.webhooks),
                    }
                    for entry in self._entries.values()
                ]
            }

    def _entry(self, provider_id: str) -> Entry:
        if provider_id not in self._entries:
            raise Refused(404, "not_found", "Payment doesn't exist or access denied", parameter="payment_id")
        return self._entries[provider_id]

    def _capture(self, entry: Entry) -> None:
        entry.payment.pop("expires_at", None)
        entry.payment.update(status="succeeded", paid=True, refundable=True, captured_at=_stamp(self._now()))
        entry.payment["refunded_amount"] = {"value": "0.00", "currency": entry.payment["amount"]["currency"]}

    def _payment(self, body: dict[str, Any]) -> dict[str, Any]:
        provider_id = str(uuid4())
        return {
            "id": provider_id,
            "status": "pending",
            "amount": dict(body["amount"]),
            "description": body.get("description", ""),
            "recipient": {"account_id": self._shop_id, "gateway_id": "1"},
            "created_at": _stamp(self._now()),
            "confirmation": {
                "type": "redirect",
                "return_url": body["confirmation"]["return_url"],
                "confirmation_url": f"{self._base_url()}/customer/{provider_id}",
            },
            "test": True,
            "paid": False,
            "refundable": False,
            "metadata": dict(body.get("metadata") or {}),
        }


def check_creation(body: Any) -> dict[str, Any]:
    """Return the body of a creation if the API would take it. Raises: Refused."""
    if not isinstance(body, dict):
        raise _invalid("Request body must be an object", "body")
    amount, confirmation = body.get("amount"), body.get("confirmation")
    if not isinstance(amount, dict) or not _is_money(amount.get("value")):
        raise _invalid("Invalid amount", "amount.value")
    if amount.get("currency") not in ("RUB", "USD", "EUR", "KZT", "BYN"):
        raise _invalid("Unsupported currency", "amount.currency")
    if (
        not isinstance(confirmation, dict)
        or confirmation.get("type") != "redirect"
        or not confirmation.get("return_url")
    ):
        raise _invalid("Only a redirect confirmation with return_url is supported", "confirmation")
    if len(str(body.get("description", ""))) > 128:  # noqa: PLR2004 - the API's limit
        raise _invalid("Description is longer than 128 characters", "description")
    metadata = body.get("metadata") or {}
    is_small = isinstance(metadata, dict) and len(metadata) <= 16  # noqa: PLR2004 - the API's limits
    if not is_small or any(len(name) > 32 or len(str(value)) > 512 for name, value in metadata.items()):  # noqa: PLR2004
        raise _invalid("Metadata is over its limits", "metadata")
    return body


def _is_money(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    roubles, _, kopecks = value.partition(".")
    return roubles.isdigit() and kopecks.isdigit() and len(kopecks) == 2 and int(roubles + kopecks) > 0  # noqa: PLR2004


def _invalid(description: str, parameter: str) -> Refused:
    return Refused(400, "invalid_request", description, parameter=parameter)


def _require(payment: dict[str, Any], *states: str) -> None:
    if payment["status"] not in states:
        raise _invalid(f"Incompatible payment status: {payment['status']}", "payment_id")


def _card(provider_id: str) -> dict[str, Any]:
    return {
        "type": "bank_card",
        "id": provider_id,
        "saved": False,
        "title": "Bank card *4444",
        "card": {
            "first6": "555555",
            "last4": "4444",
            "card_type": "MasterCard",
            "expiry_month": "12",
            "expiry_year": "2030",
        },
    }


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
