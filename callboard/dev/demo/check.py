"""Was everything done, and done once? Checked against what the outside saw, never against our own tables.

What should be comes only from the sandbox's books and the fixed plan of the morning; what is comes from our
payments table, the mail server's .eml files and books, and the report files.
"""

from __future__ import annotations

import csv
import email.policy
import io
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from openpyxl import load_workbook
from pypdf import PdfReader
from pypdf.errors import PyPdfError

from callboard.db import sql
from callboard.dev.demo import plan

Books = list[dict[str, Any]]


@dataclass(frozen=True)
class Check:
    """One comparison of the summary; problems name what differs."""

    what: str
    expected: str
    found: str
    problems: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        return not self.problems and self.expected == self.found


def check_morning(books: Books, cursor: Any, mail_dir: Path, reports_dir: Path) -> list[Check]:
    """Return every comparison of the morning."""
    morning = plan.orders()
    mails = [_read_mail(path) for path in sorted(mail_dir.glob("*.eml"))]
    attempts = [json.loads(line) for line in (mail_dir / "attempts.jsonl").read_text().splitlines()]
    return [
        *_check_payments(books, cursor, morning),
        *_check_webhooks(books, morning),
        *_check_mails(books, mails, attempts, morning),
        *_check_dead(cursor, morning),
        *_check_reports(books, reports_dir, mails),
    ]


def _check_payments(books: Books, cursor: Any, morning: Sequence[plan.Order]) -> Iterable[Check]:
    cursor.execute(sql("demo/list_payments"))
    ours = {provider_id: (order_id, status, amount) for provider_id, order_id, status, amount in cursor.fetchall()}
    outside = {
        payment["id"]: (payment["metadata"].get("order_id"), payment["status"], Decimal(payment["amount"]["value"]))
        for payment in books
    }
    yield Check(
        "payments by status",
        _counted(status for _, status, _ in outside.values()),
        _counted(status for _, status, _ in ours.values()),
        tuple(
            f"payment {provider_id}: YooKassa has {outside.get(provider_id)}, our row has {ours.get(provider_id)}"
            for provider_id in sorted(outside.keys() | ours.keys(), key=str)
            if outside.get(provider_id) != ours.get(provider_id)
        ),
    )
    per_order = Counter(order_id for order_id, _, _ in outside.values())
    yield Check(
        "one payment an order, whatever timed out",
        f"{len(morning)} orders, {len(morning)} payments",
        f"{len(per_order)} orders, {len(outside)} payments",
    )
    timed_out = next(order for order in morning if order.number == plan.CREATION_TIMES_OUT).order_id
    entry = next((payment for payment in books if payment["metadata"].get("order_id") == timed_out), None)
    keys = set(entry["idempotence_keys"]) if entry else set()
    was_repeated = entry is not None and entry["posts"] > 1
    yield Check(
        f"{timed_out}: asked again with the same key",
        "repeated, 1 key",
        f"{'repeated' if was_repeated else 'asked once'}, {len(keys)} key",
    )


def _check_webhooks(books: Books, morning: Sequence[plan.Order]) -> Iterable[Check]:
    by_order = {payment["metadata"].get("order_id"): payment for payment in books}
    expected = {plan.ANNOUNCED_FROM_OUTSIDE: ("from outside", 403), plan.FORGED: ("forged", 200)}
    for number, (name, answer) in expected.items():
        order = morning[number - 1]
        payment = by_order.get(order.order_id, {"webhooks": [], "status": "none"})
        answers = ", ".join(str(webhook["answer"]) for webhook in payment["webhooks"])
        yield Check(
            f"{order.order_id}: announced as paid, {name}",
            f"answered {answer}, pending",
            f"answered {answers}, {payment['status']}",
        )
    twice = [
        by_order[morning[number - 1].order_id]
        for number in plan.ANNOUNCED_TWICE
        if morning[number - 1].order_id in by_order
    ]
    yield Check(
        "announced twice, both answered 200",
        str(len(plan.ANNOUNCED_TWICE)),
        str(sum(sum(webhook["answer"] == 200 for webhook in payment["webhooks"]) >= 2 for payment in twice)),  # noqa: PLR2004 - HTTP's own name, and twice
    )


def _check_mails(
    books: Books, mails: Sequence[_Mail], attempts: Sequence[dict[str, Any]], morning: Sequence[plan.Order]
) -> Iterable[Check]:
    by_id = {order.order_id: order for order in morning}
    paid = [payment for payment in books if payment["status"] == "succeeded"]
    refused = morning[plan.REFUSED_MAILBOX - 1].email
    due = {by_id[payment["metadata"]["order_id"]].email: payment for payment in paid}
    due.pop(refused, None)
    receipts = [mail for mail in mails if mail.recipient != plan.OWNER]
    problems = [
        f"{recipient}: {count} receipts"
        for recipient, count in Counter(mail.recipient for mail in receipts).items()
        if count != 1
    ]
    problems += [f"{recipient}: no receipt" for recipient in sorted(due.keys() - {mail.recipient for mail in receipts})]
    for mail in receipts:
        payment = due.get(mail.recipient)
        problems += [
            f"{mail.file}: {text}" for text in (_wrong_in(mail, payment) if payment else ["nobody should get it"])
        ]
    yield Check("receipts delivered, one each", str(len(due)), str(len(receipts)), tuple(problems))
    answers = Counter((line["recipient"], line["verb"], line["code"]) for line in attempts)
    yield Check(f"{refused}: refused and not tried again", "550 once", f"550 {_times(answers[refused, 'RCPT', 550])}")
    greylisted = morning[plan.GREYLISTED_MAILBOX - 1].email
    yield Check(
        f"{greylisted}: greylisted, then delivered",
        f"451 {_times(plan.GREYLISTED_TIMES)}, 250 once",
        f"451 {_times(answers[greylisted, 'RCPT', 451])}, 250 {_times(answers[greylisted, 'DATA', 250])}",
    )


def _check_dead(cursor: Any, morning: Sequence[plan.Order]) -> Iterable[Check]:
    cursor.execute(sql("demo/list_dead_letters"))
    found = ", ".join(f"{recipient} {reason}" for recipient, reason in cursor.fetchall())
    yield Check("dead letters", f"{morning[plan.REFUSED_MAILBOX - 1].email} permanent", found or "none")


def _check_reports(books: Books, reports_dir: Path, mails: Sequence[_Mail]) -> Iterable[Check]:
    paid = [payment for payment in books if payment["status"] == "succeeded"]
    total = sum((Decimal(payment["amount"]["value"]) for payment in paid), Decimal(0))
    order_ids = [payment["metadata"]["order_id"] for payment in books]
    for kind, read in (("pdf", _pdf_text), ("csv", _csv_text), ("xlsx", _xlsx_text)):
        files = sorted(reports_dir.rglob(f"*.{kind}"))
        if len(files) != 1:
            yield Check(f"register.{kind}", "1 file", f"{len(files)} files")
            continue
        try:
            text = read(files[0])
        except (PyPdfError, BadZipFile, OSError, ValueError, ArithmeticError, KeyError) as error:
            yield Check(f"register.{kind}", "opens", f"{type(error).__name__}: {error}")
            continue
        missing = tuple(f"{kind}: order {order_id} is missing" for order_id in order_ids if order_id not in text)
        has_total = _digits(f"{total:.2f}") in _digits(text)
        yield Check(
            f"register.{kind}: {len(order_ids)} orders, total of the paid ones",
            f"{total:.2f}",
            f"{total:.2f}" if has_total else "another total",
            missing,
        )
    yield Check(
        f"link to the register mailed to {plan.OWNER}", "1", str(sum(mail.recipient == plan.OWNER for mail in mails))
    )


@dataclass(frozen=True)
class _Mail:
    file: str
    recipient: str
    to: str
    text: str
    pdf: bytes | None


def _read_mail(path: Path) -> _Mail:
    message = BytesParser(EmailMessage, policy=email.policy.default).parsebytes(path.read_bytes())
    body = message.get_body(("plain",))
    pdfs = [part.get_content() for part in message.iter_attachments() if part.get_content_type() == "application/pdf"]
    return _Mail(
        path.name,
        str(message["X-Envelope-To"]),
        str(message["To"]),
        str(body.get_content()) if body else "",
        pdfs[0] if pdfs else None,
    )


def _wrong_in(mail: _Mail, payment: dict[str, Any]) -> list[str]:
    """Return what in a receipt does not agree with the payment it is for."""
    order_id, amount = payment["metadata"]["order_id"], payment["amount"]["value"]
    wrong = []
    if mail.recipient not in mail.to:
        wrong.append(f"addressed to {mail.to!r}")
    if order_id not in mail.text:
        wrong.append(f"does not name order {order_id}")
    if _digits(amount) not in _digits(mail.text):
        wrong.append(f"does not name the amount {amount}")
    try:
        text = _pdf_text(io.BytesIO(mail.pdf)) if mail.pdf else ""
    except PyPdfError as error:
        text = ""
        wrong.append(f"its PDF does not open: {error}")
    if order_id not in text or _digits(amount) not in _digits(text):
        wrong.append(f"its PDF does not name order {order_id} and {amount}")
    return wrong


def link_in(mail_dir: Path) -> str | None:
    """Return the link of the mail that says the register is ready."""
    for path in sorted(mail_dir.glob("*.eml")):
        mail = _read_mail(path)
        if mail.recipient == plan.OWNER and (found := re.search(r"https?://\S+/reports/\S+", mail.text)):
            return found[0]
    return None


def _pdf_text(source: Path | io.BytesIO) -> str:
    # What is wrong with a file is told by the check that reads it.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    return "\n".join(page.extract_text() for page in PdfReader(source).pages)


def _csv_text(path: Path) -> str:
    """Return the rows, and below them the sum of the paid ones: a CSV file is data and holds no totals."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    total = sum((Decimal(row["Amount"]) for row in rows if row["Status"] == "Succeeded"), Decimal(0))
    return "\n".join(["\t".join(row.values()) for row in rows] + [str(total)])


def _xlsx_text(path: Path) -> str:
    book = load_workbook(path, read_only=True)
    try:
        cells = [
            [cell for cell in row if cell is not None] for sheet in book for row in sheet.iter_rows(values_only=True)
        ]
    finally:
        book.close()
    return "\n".join(
        "\t".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) for row in cells
    )


def _digits(text: str) -> str:
    """Keep the digits, so that 1 234,50 and 1,234.50 are the same figure; lines stay apart."""
    return re.sub(r"[^\d\n]", "", text)


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{word} {count}" for word, count in sorted(Counter(words).items()))


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
