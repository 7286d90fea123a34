"""Money and moments in reports: read strictly, shown one way everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from callboard.reports.errors import InvalidReport

_SYMBOLS = {"RUB": "₽", "USD": "$", "EUR": "€", "GBP": "£", "KZT": "₸"}
_CENT = Decimal("0.01")
#: Amounts in numeric(14, 2) stay below this; anything larger is a mistake or an attack on the layout.
_LARGEST = Decimal(10) ** 15


@dataclass(frozen=True)
class Money:
    """An amount of one currency."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        """Show as "1,234.50 ₽", the currency's code where it has no symbol here."""
        # The no-break space keeps amount and symbol on one line.
        return f"{self.amount:,.2f}\N{NO-BREAK SPACE}{_SYMBOLS.get(self.currency, self.currency)}"


def read_money(amount: Any, currency: Any, *, name: str = "amount") -> Money:
    """Return the money that a text amount and an ISO code name.

    Raises: InvalidReport.
    """
    try:
        if isinstance(amount, float | bool):
            raise InvalidOperation  # noqa: TRY301 - a float has already lost what a report must show
        value = Decimal(amount)
        if not value.is_finite() or abs(value) >= _LARGEST or value != value.quantize(_CENT):
            raise InvalidOperation  # noqa: TRY301 - one sentence for every wrong amount
    except (InvalidOperation, TypeError, ValueError):
        raise InvalidReport(
            f'{name} must be a decimal text with at most two decimals such as "1234.50", got {_short(amount)}.'
        ) from None
    if not isinstance(currency, str) or not re.fullmatch("[A-Z]{3}", currency):
        raise InvalidReport(f"currency must be an ISO code such as RUB, got {_short(currency)}.")
    return Money(value.quantize(_CENT), currency)


def read_moment(value: Any, *, name: str) -> datetime:
    """Return the moment that an ISO text names, in UTC.

    Raises: InvalidReport, also for a moment without its zone: a guess would move money between days.
    """
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidReport(
        f'{name} must be an ISO moment with its zone such as "2026-11-23T09:00:00+03:00", got {_short(value)}.'
    )


def show_moment(moment: datetime) -> str:
    """Show as "23 Nov 2026, 09:15" in UTC; the reader is told the zone once, not in every row."""
    return f"{show_day(moment)}, {moment.astimezone(UTC):%H:%M}"


def show_day(moment: datetime) -> str:
    """Show as "23 Nov 2026" in UTC, in English whatever the locale."""
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    moment = moment.astimezone(UTC)
    return f"{moment.day} {months[moment.month - 1]} {moment.year:04d}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 - enough to recognise a value by
