"""receipt: what one payment was for, rendered from the same context as the mail it is attached to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from callboard.reports.errors import InvalidReport
from callboard.reports.formats.figures import Money, read_moment, read_money, show_moment
from callboard.reports.formats.plain_text import clean, shorten

if TYPE_CHECKING:
    from datetime import datetime

_REQUIRED = ("order_id", "amount", "currency", "paid_at", "payment_id")
#: A receipt is a page or two; whoever bought more gets an invoice from the shop.
MAX_ITEMS = 500


@dataclass(frozen=True)
class Item:
    """A line of the receipt."""

    name: str
    quantity: int
    amount: Money


@dataclass(frozen=True)
class Receipt:
    """One payment that succeeded."""

    order_id: str
    payment_id: str
    paid: Money
    as_of: datetime
    customer_name: str | None = None
    items: tuple[Item, ...] = ()

    @property
    def title(self) -> str:
        """Return what the document is called."""
        return f"Receipt for order {shorten(clean(self.order_id), 80)}"

    def view(self) -> dict[str, Any]:
        """Return the receipt as the texts that a person reads."""
        facts = [
            ["Order", self.order_id],
            ["Paid at", f"{show_moment(self.as_of)} UTC"],
            ["Customer", self.customer_name or ""],
            ["Payment", self.payment_id],
        ]
        return {
            "title": self.title,
            "paid": str(self.paid),
            "facts": [[name, shorten(clean(value), 200)] for name, value in facts if value],
            "items": [[shorten(clean(item.name), 200), f"{item.quantity:,}", str(item.amount)] for item in self.items],
        }


def check_context(parameters: Mapping[str, Any], now: datetime) -> dict[str, Any]:  # noqa: ARG001 - the signature of all kinds
    """Return the context unchanged when a receipt can be made of it.

    Raises: InvalidReport.
    """
    read_receipt(parameters)
    return dict(parameters)


def collect_context(cursor: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - the signature of all kinds
    """Return the context: it holds all that a receipt shows."""
    return dict(parameters)


def read_receipt(data: Mapping[str, Any]) -> Receipt:
    """Return the receipt of a context; keys that only the mail needs are ignored.

    Raises: InvalidReport.
    """
    missing = [name for name in _REQUIRED if data.get(name) in (None, "")]
    if missing:
        raise InvalidReport(f"A receipt needs {', '.join(_REQUIRED)}; missing: {', '.join(missing)}.")
    items = data.get("items") or ()
    if not isinstance(items, list | tuple) or len(items) > MAX_ITEMS:
        raise InvalidReport(f"items must be a list of at most {MAX_ITEMS} lines.")
    return Receipt(
        order_id=str(data["order_id"]),
        payment_id=str(data["payment_id"]),
        paid=read_money(data["amount"], data["currency"]),
        as_of=read_moment(data["paid_at"], name="paid_at"),
        customer_name=str(data["customer_name"]) if data.get("customer_name") else None,
        items=tuple(_item(item, data["currency"]) for item in items),
    )


def receipt_title(data: Mapping[str, Any]) -> str:
    """Return the receipt's title."""
    return read_receipt(data).title


def _item(item: Any, currency: str) -> Item:
    if not isinstance(item, Mapping) or "name" not in item or "amount" not in item:
        raise InvalidReport("Each of items needs name and amount (the line's sum), and may have quantity.")
    quantity = item.get("quantity", 1)
    if not isinstance(quantity, int) or isinstance(quantity, bool):
        raise InvalidReport(f"quantity of an item must be a whole number, got {clean(repr(quantity))[:60]}.")
    return Item(str(item["name"]), quantity, read_money(item["amount"], currency, name="amount of an item"))
