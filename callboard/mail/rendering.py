"""Templates: a folder each, with subject.txt, body.txt and body.html, filled by Jinja2.

The values come from whoever sends messages, so HTML is escaped, links must be web addresses, and a
value that is missing or malformed makes a dead letter that names it instead of a mail with a hole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from css_inline import CSSInliner, InlineError
from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    Undefined,
    UndefinedError,
    select_autoescape,
)

from callboard.mail.addresses import CONTROL_CHARACTERS
from callboard.mail.errors import MailInvalid

TEMPLATES_DIR = Path(__file__).parent / "templates"
#: Longest line a subject may be, in characters; RFC 5322 allows 998 bytes.
SUBJECT_MAX = 200
#: Not from the locale: a worker's may be any.
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True)
class RenderedMail:
    """The three parts of a filled template."""

    subject: str
    text: str
    html: str


def template_names() -> list[str]:
    """Return the names that build_email() and deliver() know."""
    return sorted(path.parent.name for path in TEMPLATES_DIR.glob("*/subject.txt"))


def render_mail(
    template: str, context: Mapping[str, Any], *, sender_name: str, takes_replies: bool = False
) -> RenderedMail:
    """Fill the template's three parts from context; takes_replies tells whether somebody reads what is answered.

    Raises: MailInvalid for an unknown template, a missing variable or a value the template cannot show.
    """
    if template not in template_names():
        raise MailInvalid(f"There is no mail template {template!r}. Use one of: {', '.join(template_names())}.")
    if not isinstance(context, Mapping):
        raise MailInvalid(f"The context of a mail must be an object with names, got {type(context).__name__}.")
    values = {**context, "sender_name": sender_name, "takes_replies": takes_replies}
    try:
        subject, text, html = (
            _environment().get_template(f"{template}/{part}").render(values)
            for part in ("subject.txt", "body.txt", "body.html")
        )
        # A lone surrogate would fail only later, where the mail becomes bytes.
        f"{subject}\n{text}\n{html}".encode()
        rendered = RenderedMail(_checked_subject(template, subject), text, _inliner().inline(html))
    except UndefinedError as error:
        names = ", ".join(sorted(map(str, context))) or "nothing"
        raise MailInvalid(
            f"Template {template!r} cannot be filled: {error}. The context holds: {names}. Send it with that value."
        ) from error
    except (TemplateError, TypeError, InlineError, UnicodeEncodeError) as error:
        raise MailInvalid(f"Template {template!r} cannot show a value of its context: {error}.") from error
    if "\0" in text or "\0" in html:
        raise MailInvalid(f"A value for template {template!r} holds a NUL character. Send it without.")
    return rendered


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"money": money, "moment": moment, "web_link": web_link}
    return environment


@cache
def _inliner() -> CSSInliner:
    # Neither the network nor the disk: a value of the context must not make a worker fetch anything.
    return CSSInliner(load_remote_stylesheets=False)


def _checked_subject(template: str, subject: str) -> str:
    if CONTROL_CHARACTERS.search(subject):
        raise MailInvalid(
            f"The subject of template {template!r} holds a line break or control character: {subject[:100]!r}. "
            "Send the values without."
        )
    return subject if len(subject) <= SUBJECT_MAX else subject[: SUBJECT_MAX - 1] + "…"


def money(amount: object, currency: object) -> str:
    """Show an amount with its ISO currency, as "RUB 1,490.00"."""
    for value in (amount, currency):
        if isinstance(value, Undefined):
            str(value)  # Raises the error that names the missing variable.
    if isinstance(amount, bool) or not isinstance(amount, str | int | Decimal):
        raise MailInvalid(f"An amount must be decimal text such as '1490.00', got {amount!r}.")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise MailInvalid(f"A currency must be its three ISO letters such as 'RUB', got {currency!r}.")
    try:
        exact = Decimal(amount)
        rounded = exact.quantize(Decimal("0.01"))
    except InvalidOperation as error:  # Also of NaN, infinity and a number too long to be one of money.
        raise MailInvalid(f"An amount must be a number, got {amount!r}.") from error
    if rounded != exact:
        raise MailInvalid(f"An amount must have two decimals at most, got {amount!r}.")
    return f"{currency} {rounded:,.2f}"


def moment(value: object) -> str:
    """Show an aware moment, given as datetime or ISO text, as "23 November 2026, 14:05 UTC"."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        # A naive moment would be read in the worker's own zone.
        utc_at = at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        utc_at = None
    if utc_at is None:
        raise MailInvalid(f"A moment must be ISO text with its zone, such as '2026-11-23T14:05:00Z', got {value!r}.")
    return f"{utc_at.day} {MONTHS[utc_at.month - 1]} {utc_at.year}, {utc_at:%H:%M} UTC"


def web_link(value: object) -> str:
    """Return a link that a mail may carry: http or https, nothing that runs code or hides another line."""
    text = str(value)
    try:
        parts = urlsplit(text)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web = False
    if not is_web or CONTROL_CHARACTERS.search(text) or " " in text:
        raise MailInvalid(f"A link must be an http:// or https:// address without spaces, got {text[:100]!r}.")
    return text
