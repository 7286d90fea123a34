"""payments_register: every payment of a time, with sums."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from callboard.db import sql
from callboard.reports.errors import InvalidReport
from callboard.reports.formats.figures import Money, read_moment, read_money, show_day, show_moment
from callboard.reports.formats.table import Cell, Column, Table, Total

if TYPE_CHECKING:
    from collections.abc import Mapping

TITLE = "Payments register"
#: More rows than this are a data export, not a report; the limit keeps a worker's memory bounded.
MAX_ROWS = 100_000
_ROWS_A_FETCH = 2_000
_STATUSES = ("succeeded", "waiting_for_capture", "pending", "created", "canceled")
_DAY = timedelta(days=1)
_COLUMNS = (
    Column("Order", share=1.3),
    Column("Customer", share=1.6),
    Column("Status"),
    Column("Paid at (UTC)", "moment"),
    Column("Amount", "money"),
)


def check_window(parameters: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """Return the time that from and to name as two moments; the end is exclusive.

    Dates are whole UTC days, so to="2026-11-30" includes the 30th. Without both: today; without to: until
    today's end; without from: the last day before to. Raises: InvalidReport.
    """
    today = now.astimezone(UTC).date()
    from_value, to_value = parameters.get("from"), parameters.get("to")
    to_at = _boundary(to_value, "to", day_offset=1) if to_value is not None else _midnight(today) + _DAY
    if from_value is not None:
        from_at = _boundary(from_value, "from", day_offset=0)
    else:
        from_at = _midnight((to_at - timedelta(microseconds=1)).date())
    if from_at >= to_at:
        raise InvalidReport(
            f"from ({from_at.isoformat()}) must be before to ({to_at.isoformat()}). Swap or correct them."
        )
    return {"from": from_at.isoformat(), "to": to_at.isoformat()}


def collect_payments(cursor: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read the payments created in the window, as JSON.

    Rows come through a server-side cursor, so that the driver never holds a second copy of them.
    Raises: InvalidReport for more than MAX_ROWS.
    """
    payments: list[dict[str, Any]] = []
    window = {"from_at": parameters["from"], "to_at": parameters["to"], "limit": MAX_ROWS + 1}
    with cursor.connection.cursor(name="payments_register") as rows:
        rows.itersize = _ROWS_A_FETCH
        rows.execute(sql("reports/select_payments"), window)
        for order_id, customer_email, status, amount, currency, paid_at in rows:
            payments.append(
                {
                    "order_id": order_id,
                    "customer": mask_customer(customer_email),
                    "status": status,
                    "amount": str(amount),
                    "currency": currency,
                    "paid_at": paid_at.isoformat() if paid_at else None,
                }
            )
    if len(payments) > MAX_ROWS:
        raise InvalidReport(f"The register would hold more than {MAX_ROWS:,} payments. Ask for a shorter time.")
    return {**parameters, "payments": payments}


def register_table(data: Mapping[str, Any]) -> Table:
    """Return the register's table; sums are taken from its own rows, so that they always agree."""
    try:
        from_at, to_at = read_moment(data["from"], name="from"), read_moment(data["to"], name="to")
        as_of = read_moment(data["requested_at"], name="requested_at")
        rows = tuple(_row(payment) for payment in data["payments"])
    except (KeyError, TypeError) as error:
        raise InvalidReport(
            f"payments_register needs from, to, requested_at and payments with order_id, status, amount, currency; "
            f"missing or wrong: {error}."
        ) from error
    return Table(
        title=TITLE,
        subtitle=_show_window(from_at, to_at),
        as_of=as_of,
        columns=_COLUMNS,
        rows=rows,
        totals=_totals(data["payments"]),
        parameters=(
            ("From", f"{show_moment(from_at)} UTC"),
            ("Until", f"{show_moment(to_at)} UTC"),
            ("Requested", f"{show_moment(as_of)} UTC"),
        ),
        row_noun="payments",
    )


def register_title(parameters: Mapping[str, Any]) -> str:
    """Return the register's title with its time."""
    window = _show_window(read_moment(parameters["from"], name="from"), read_moment(parameters["to"], name="to"))
    return f"{TITLE}, {window}"


def mask_customer(address: str | None) -> str:
    """Return enough of a mail address to recognise a known customer by, too little to write to one."""
    local, at, domain = (address or "").rpartition("@")
    return f"{local[:1]}***@{domain}" if at else ("***" if address else "")


def _boundary(value: Any, name: str, *, day_offset: int) -> datetime:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            return _midnight(date.fromisoformat(value)) + day_offset * _DAY
        except (ValueError, OverflowError):
            raise InvalidReport(
                f"{name} names no day of the calendar, got {value!r}. Write it as 2026-11-23."
            ) from None
    return read_moment(value, name=name)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _show_window(from_at: datetime, to_at: datetime) -> str:
    if from_at.time() != time() or to_at.time() != time():
        return f"{show_moment(from_at)} \N{EN DASH} {show_moment(to_at)} UTC"
    last_day = show_day(to_at - _DAY)
    return last_day if to_at - from_at == _DAY else f"{show_day(from_at)} \N{EN DASH} {last_day}"


def _row(payment: Mapping[str, Any]) -> tuple[Cell, ...]:
    paid_at = payment.get("paid_at")
    return (
        payment["order_id"],
        payment.get("customer") or None,
        _label(payment["status"]),
        read_moment(paid_at, name="paid_at") if paid_at else None,
        read_money(payment["amount"], payment["currency"]),
    )


def _label(status: str) -> str:
    return status.replace("_", " ").capitalize()


def _totals(payments: list[dict[str, Any]]) -> tuple[Total, ...]:
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for payment in payments:
        counts[payment["status"]] += 1
        sums[payment["status"]][payment["currency"]] += Decimal(payment["amount"])
    known = sorted(counts, key=lambda status: (_STATUSES.index(status) if status in _STATUSES else 99, status))
    lines = [Total(_label(status), counts[status], _amounts(sums[status])) for status in known]
    # A day without payments still has a total: zero roubles.
    paid = sums.get("succeeded") or {"RUB": Decimal()}
    return (*lines, Total("Total of succeeded payments", counts.get("succeeded", 0), _amounts(paid), is_grand=True))


def _amounts(sums: Mapping[str, Decimal]) -> tuple[Money, ...]:
    return tuple(Money(amount, currency) for currency, amount in sorted(sums.items()))
