"""One mail from its parts: every header through email's own classes, the same Message-ID at each attempt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from callboard.errors import ConfigurationError
from callboard.mail.addresses import MailAddress, parse_address, refuse_control_characters
from callboard.mail.errors import MailInvalid
from callboard.mail.rendering import render_mail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from callboard.settings import Settings

# Every part in seven bits: a relay without 8BITMIME then has nothing to re-encode.
POLICY = SMTP.clone(cte_type="7bit")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*", re.IGNORECASE)


@dataclass(frozen=True)
class Attachment:
    """A file that goes with a mail; media_type is such as "application/pdf"."""

    filename: str
    content: bytes
    media_type: str


def build_email(
    settings: Settings,
    *,
    message_id: str,
    to: str,
    template: str,
    context: Mapping[str, Any],
    attachments: Sequence[Attachment] = (),
) -> EmailMessage:
    """Build the mail that the template makes of context.

    message_id is the queue's UUID; the header Message-ID derives from it, so that every attempt carries the same.
    Raises: MailInvalid, or ConfigurationError where SMTP_FROM or SMTP_FROM_NAME cannot be used.
    """
    sender = _sender(settings)
    recipient = parse_address(to, "recipient")
    rendered = render_mail(template, context, sender_name=sender.name)
    email = EmailMessage(policy=POLICY)
    email["From"] = sender.header()
    email["To"] = recipient.header()
    email["Subject"] = rendered.subject
    email["Date"] = format_datetime(datetime.now(UTC))
    email["Message-ID"] = f"<{_uuid(message_id)}@{sender.domain}>"
    # Holiday notices and other robots must not answer a robot (RFC 3834).
    email["Auto-Submitted"] = "auto-generated"
    email.set_content(rendered.text)
    email.add_alternative(rendered.html, subtype="html")
    for attachment in attachments:
        _attach(email, attachment)
    return email


def _sender(settings: Settings) -> MailAddress:
    try:
        address = parse_address(settings.smtp_from, "sender SMTP_FROM")
        name = refuse_control_characters(address.name or settings.smtp_from_name, "sender's name SMTP_FROM_NAME")
    except MailInvalid as error:
        raise ConfigurationError(str(error)) from error
    return MailAddress(address.local_part, address.domain, name)


def _uuid(message_id: str) -> UUID:
    try:
        return UUID(message_id)
    except (ValueError, AttributeError, TypeError) as error:
        raise MailInvalid(f"A mail's message id must be a UUID, got {message_id!r}.") from error


def _attach(email: EmailMessage, attachment: Attachment) -> None:
    filename = refuse_control_characters(attachment.filename, "attachment name")
    if not filename or "/" in filename or "\\" in filename:
        raise MailInvalid(f"An attachment's name must be a file name without folders, got {filename!r}.")
    if not _MEDIA_TYPE.fullmatch(attachment.media_type):
        raise MailInvalid(
            f"An attachment's media type must be such as 'application/pdf', got {attachment.media_type!r}."
        )
    maintype, subtype = attachment.media_type.split("/")
    email.add_attachment(attachment.content, maintype=maintype, subtype=subtype, filename=filename)
