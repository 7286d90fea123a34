"""One mail from its parts: headers that hold values from outside through headers.py, one Message-ID at all attempts."""

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
from callboard.mail.addresses import MailAddress, clean_name, parse_address, refuse_control_characters
from callboard.mail.errors import MailInvalid
from callboard.mail.headers import address_header, attachment_header, plain_header, text_header
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
    Raises: MailInvalid, or ConfigurationError where SMTP_FROM, SMTP_FROM_NAME or SMTP_REPLY_TO cannot be used.
    """
    sender = _sender(settings)
    reply_to = own_address(settings.smtp_reply_to, "SMTP_REPLY_TO") if settings.smtp_reply_to else None
    recipient = parse_address(to, "recipient")
    rendered = render_mail(template, context, sender_name=sender.name, takes_replies=reply_to is not None)
    email = EmailMessage(policy=POLICY)
    email["From"] = address_header("From", sender)
    email["To"] = address_header("To", recipient)
    if reply_to is not None:
        email["Reply-To"] = address_header("Reply-To", reply_to)
    email["Subject"] = text_header("Subject", rendered.subject)
    email["Date"] = format_datetime(datetime.now(UTC))
    email["Message-ID"] = plain_header("Message-ID", f"<{_uuid(message_id)}@{sender.domain}>")
    # Holiday notices and other robots must not answer a robot (RFC 3834).
    email["Auto-Submitted"] = "auto-generated"
    email.set_content(rendered.text)
    email.add_alternative(rendered.html, subtype="html")
    for attachment in attachments:
        _attach(email, attachment)
    return email


def envelope_sender(settings: Settings, email: EmailMessage) -> str:
    """Return the address that bounces of this mail go to.

    Raises: ConfigurationError where SMTP_ENVELOPE_FROM is no address.
    """
    if settings.smtp_envelope_from:
        return own_address(settings.smtp_envelope_from, "SMTP_ENVELOPE_FROM").mailbox
    sender: str = email["From"].addresses[0].addr_spec
    return sender


def own_address(value: str, variable: str) -> MailAddress:
    """Read an address of ours from a setting.

    Raises: ConfigurationError.
    """
    try:
        return parse_address(value, f"address in {variable}")
    except MailInvalid as error:
        raise ConfigurationError(str(error)) from error


def _sender(settings: Settings) -> MailAddress:
    address = own_address(settings.smtp_from, "SMTP_FROM")
    try:
        name = address.name or clean_name(settings.smtp_from_name, "sender's name SMTP_FROM_NAME")
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
    email.add_attachment(attachment.content, maintype=maintype, subtype=subtype)
    (*_, part) = email.iter_attachments()
    part.replace_header("Content-Disposition", attachment_header(filename))
