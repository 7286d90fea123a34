"""Data that the tests of reports share."""

from __future__ import annotations

from typing import Any

WINDOW = {
    "from": "2026-11-22T00:00:00+00:00",
    "to": "2026-11-23T00:00:00+00:00",
    "requested_at": "2026-11-22T14:05:00.123456+00:00",
}

#: Markup of every renderer, control characters and directions; each must come out as what it is.
HOSTILE = [
    '#import "@preview/cetz:0.3.0"',
    '#read("/etc/passwd")',
    "$x^2$ *bold* _under_ `raw` = Heading <label> @ref",
    "]#panic()[",
    "\\u{41} \\ // comment",
    "<script>alert(1)</script> & \"quotes\" 'single'",
    "{{ 7 * 7 }} {% raw %}",
    '=HYPERLINK("http://127.0.0.1","x")',
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    " =1+1",
    "nul\x00bell\x07escape\x1b[31m",
    "gpj\u202efdp.exe\u202c",
    "half \ud800 pair",
    "🙂漢字 مرحبا שלום",
    "x" * 10_000,
    "word " * 2_000,
]


def payment(**changes: Any) -> dict[str, Any]:
    return {
        "order_id": "A-1",
        "customer": "a***@shop.example",
        "status": "succeeded",
        "amount": "100.00",
        "currency": "RUB",
        "paid_at": "2026-11-22T09:15:00+00:00",
    } | changes


def register(*payments: dict[str, Any]) -> dict[str, Any]:
    return {**WINDOW, "payments": list(payments)}


def receipt(**changes: Any) -> dict[str, Any]:
    return {
        "order_id": "A-10023",
        "amount": "1234.50",
        "currency": "RUB",
        "paid_at": "2026-11-22T09:15:00+03:00",
        "payment_id": "2d1f7c9e-000f-5000-9000-1b68e7b15f3f",
        "customer_name": "Анна Петрова",
    } | changes
