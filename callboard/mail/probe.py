"""Trying the mail settings without sending anything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from callboard.errors import ConfigurationError
from callboard.mail.answers.answer import RCPT, Fate
from callboard.mail.answers.rules import rule_for
from callboard.mail.errors import MailRefused
from callboard.mail.message import own_address
from callboard.mail.smtp.connection import borrow_connection, close_connection, reset_connection
from callboard.mail.smtp.conversation import Refused, introduce

if TYPE_CHECKING:
    from callboard.settings import Settings


@dataclass(frozen=True)
class Rehearsal:
    """What the server said to MAIL and RCPT, and what it means for mail of ours; fate is None where it would leave."""

    text: str
    fate: Fate | None = None
    advice: str = ""

    @property
    def is_taken(self) -> bool:
        """Return whether the server takes mail of ours."""
        return self.fate is None


def probe(settings: Settings) -> str:
    """Return in words how mail would leave, after a connection and a login where a server is concerned.

    Raises: ServerUnreachable, ConfigurationError.
    """
    match settings.email_provider:
        case "console":
            return "Mail is shown on the console (EMAIL_PROVIDER=console)."
        case "file":
            folder = settings.email_file_dir
            parent = next(place for place in (folder, *folder.absolute().parents) if place.exists())
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise ConfigurationError(
                    f"EMAIL_FILE_DIR {str(folder)!r} cannot be written. Make the folder writable, or set another."
                )
            return f"Mail goes to files in {folder} (EMAIL_PROVIDER=file)."
    try:
        borrow_connection(settings)
    finally:
        close_connection()
    login = f"takes the login of {settings.smtp_user}" if settings.smtp_user else "is reached, without a login"
    return f"{settings.smtp_host}:{settings.smtp_port} {login} ({settings.smtp_security_mode})."


def rehearse(settings: Settings) -> Rehearsal | None:
    """Say MAIL and RCPT as for a mail to ourselves, and take both back; None where no server is concerned.

    Most servers judge the sender only at RCPT. The recipient is SMTP_FROM's own mailbox, or its postmaster where a
    server that knows its mailboxes does not know that one: each is ours to write to.

    Raises: ServerUnreachable, ConfigurationError.
    """
    if settings.email_provider != "smtp":
        return None
    sender = own_address(settings.smtp_from, "SMTP_FROM")
    envelope = own_address(settings.smtp_envelope_from or settings.smtp_from, "SMTP_ENVELOPE_FROM")
    recipients = (sender.mailbox, f"postmaster@{sender.domain}")
    try:
        for recipient in recipients:
            found = _rehearse_once(settings, envelope.mailbox, recipient)
            if found.fate is not Fate.REFUSED:
                break
    except MailRefused as error:
        raise ConfigurationError(str(error)) from error
    finally:
        close_connection()
    return found


def _rehearse_once(settings: Settings, sender: str, recipient: str) -> Rehearsal:
    smtp = borrow_connection(settings).smtp
    try:
        mail, rcpt = introduce(smtp, sender, recipient, is_utf8=not (sender + recipient).isascii())
    except Refused as refusal:
        reply, rule = refusal.reply, rule_for(refusal.reply)
        to = f" to {recipient}" if reply.verb == RCPT else ""
        return Rehearsal(
            f"A mail from {sender}{to} is answered at {reply.verb} with: {reply} ({rule.name}).",
            rule.fate,
            rule.advice or ("" if rule.fate is Fate.REFUSED else "Mail waits meanwhile."),
        )
    finally:
        reset_connection()
    return Rehearsal(f"A mail from {sender} to {recipient} is taken: {mail}; {rcpt}.")
