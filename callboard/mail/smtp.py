"""Delivery over SMTP, in phases, because what a lost connection means depends on how far the mail got.

Before the mail's final dot nothing was accepted: a connection that was reused is replaced once, a
fresh one that fails postpones the mail. After the dot and before the answer the outcome is unknown:
the mail is sent again with the same Message-ID, because a mail that comes twice is better than one
that never comes.
"""

from __future__ import annotations

import random
import re
import smtplib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from callboard.errors import ConfigurationError
from callboard.log import get_logger, mask_addresses
from callboard.mail.connection import (
    Connection,
    ServerUnreachable,
    borrow_connection,
    close_connection,
    drop_connection,
    reset_connection,
)
from callboard.mail.errors import MailOutcomeUnknown, MailPostponed, MailRefused
from callboard.mail.health import mail_health
from callboard.mail.message import POLICY

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import EmailMessage

    from callboard.settings import Settings

log = get_logger(__name__)

#: Answers about our login, whichever command they follow; the mail itself is not to blame.
LOGIN_CODES = (530, 534, 535, 538)
SERVICE_CLOSING = 421
TOO_LARGE = 552
START_INPUT = 354
_LINE_START_DOT = re.compile(rb"^\.", re.MULTILINE)


@dataclass(frozen=True)
class Reply:
    """A server's answer to one command."""

    verb: str
    code: int
    text: str

    @property
    def is_success(self) -> bool:
        """Return whether the server did what it was asked."""
        return 200 <= self.code < 300  # noqa: PLR2004 - SMTP's successes

    @property
    def is_refusal(self) -> bool:
        """Return whether the server said no, for now or for good."""
        return 400 <= self.code < 600  # noqa: PLR2004 - SMTP's temporary and permanent refusals

    @property
    def is_permanent(self) -> bool:
        """Return whether the server said no for good."""
        return self.code >= 500  # noqa: PLR2004 - SMTP's permanent refusals

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


class _Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class SmtpTransport:
    """Hand mails to the server that the settings name; see connection.py for the connection's life."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def send(self, email: EmailMessage) -> str:
        """Deliver to the one recipient and return the server's answer.

        Raises: MailRefused, MailPostponed, MailOutcomeUnknown.
        """
        sender, recipient = (email[header].addresses[0].addr_spec for header in ("From", "To"))
        try:
            reply = self._deliver(sender, recipient, email)
        except _Refused as refusal:
            reset_connection()
            raise self._verdict(refusal.reply, recipient) from None
        except ServerUnreachable as error:
            drop_connection()
            raise self._unreachable(str(error)) from error
        except ConfigurationError as error:
            close_connection()
            raise self._misconfigured(str(error), kind=str(error)) from error
        except MailRefused:
            raise
        except BaseException:
            # Whatever ended the conversation (a time limit may, anywhere), its next answer would be read as another's.
            drop_connection()
            raise
        mail_health.is_well(self._where)
        return str(reply)

    @property
    def _where(self) -> str:
        return f"{self._settings.smtp_host}:{self._settings.smtp_port}"

    def _deliver(self, sender: str, recipient: str, email: EmailMessage) -> Reply:
        is_utf8 = not (sender + recipient).isascii()
        content = _LINE_START_DOT.sub(b"..", email.as_bytes(policy=POLICY.clone(utf8=is_utf8)))
        if not content.endswith(b"\r\n"):
            content += b"\r\n"
        connection = self._begin(sender, recipient, len(content), is_utf8=is_utf8)
        connection.mails += 1
        try:
            connection.smtp.send(content + b".\r\n")
        except OSError as error:
            raise ServerUnreachable(f"hung up in the middle of the mail: {error}") from error
        try:
            code, text = connection.smtp.getreply()
        except (OSError, smtplib.SMTPException) as error:
            raise _outcome_unknown(self._where, str(error)) from error
        reply = _read("end of mail", code, text)
        if reply.code == SERVICE_CLOSING:
            raise ServerUnreachable(f"answered the end of the mail with {str(reply)!r}")
        if reply.is_refusal:
            raise _Refused(reply)
        if not reply.is_success:
            raise _outcome_unknown(self._where, f"its answer {str(reply)!r} makes no sense")
        connection.used_at_s = time.monotonic()
        return reply

    def _begin(self, sender: str, recipient: str, size_bytes: int, *, is_utf8: bool) -> Connection:
        """Say MAIL, RCPT and DATA; a reused connection that fails meanwhile is replaced once."""
        connection = borrow_connection(self._settings)
        try:
            _introduce(connection.smtp, sender, recipient, size_bytes, is_utf8=is_utf8)
        except ServerUnreachable:
            if connection.is_fresh:
                raise
            drop_connection()
            connection = borrow_connection(self._settings)
            _introduce(connection.smtp, sender, recipient, size_bytes, is_utf8=is_utf8)
        return connection

    def _verdict(self, reply: Reply, recipient: str) -> Exception:
        domain = recipient.rpartition("@")[2]
        if reply.code in LOGIN_CODES:
            return self._misconfigured(
                f"The mail server {self._where} answered {mask_addresses(str(reply))!r} to {reply.verb}. "
                "Correct SMTP_USER and SMTP_PASS; waiting mails then leave by themselves.",
                kind="login",
            )
        if reply.verb == "MAIL" and reply.is_permanent and reply.code != TOO_LARGE:
            return self._misconfigured(
                f"The mail server {self._where} does not take mail from SMTP_FROM: {mask_addresses(str(reply))!r}. "
                "Set SMTP_FROM to a sender that it allows.",
                kind="sender",
            )
        mail_health.is_well(self._where)
        if not reply.is_permanent:
            log.info("mail deferred by its server", to_domain=domain, code=reply.code, verb=reply.verb)
            return MailPostponed(
                f"greylisted by {domain}",
                wait_s=self._settings.smtp_greylist_wait_s,
                reply=str(reply),
                is_server_answer=True,
            )
        return MailRefused(f"Mail to {domain} was refused at {reply.verb}: {reply}", reply=str(reply))

    def _unreachable(self, what: str) -> MailPostponed:
        mail_health.is_down(self._where, mask_addresses(what))
        return MailPostponed("mail server cannot be reached", wait_s=self._outage_wait_s(), reply=what)

    def _misconfigured(self, what: str, *, kind: str) -> MailPostponed:
        mail_health.is_misconfigured(self._where, what, kind=kind)
        return MailPostponed("mail settings do not work", wait_s=self._outage_wait_s(), reply=what)

    def _outage_wait_s(self) -> float:
        # Spread, so that a night's mails do not all knock at the same second.
        return self._settings.smtp_outage_wait_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not cryptography


def _introduce(smtp: smtplib.SMTP, sender: str, recipient: str, size_bytes: int, *, is_utf8: bool) -> None:
    """Say who writes to whom and ask to begin.

    Raises: _Refused with the server's answer; ServerUnreachable; MailRefused where it cannot take the address.
    """
    options = [f"SIZE={size_bytes}"] if smtp.has_extn("size") else []
    if is_utf8:
        if not smtp.has_extn("smtputf8"):
            raise MailRefused(
                "The mail server has no SMTPUTF8, which an address with letters outside ASCII before the @ needs. "
                "Use an ASCII address, or a server with SMTPUTF8."
            )
        options.append("SMTPUTF8")
    steps: tuple[tuple[str, Callable[[], tuple[int, bytes]]], ...] = (
        ("MAIL", lambda: smtp.mail(sender, options)),
        ("RCPT", lambda: smtp.rcpt(recipient)),
        ("DATA", lambda: smtp.docmd("DATA")),
    )
    for verb, step in steps:
        try:
            reply = _read(verb, *step())
        except (OSError, smtplib.SMTPException) as error:
            raise ServerUnreachable(f"hung up after {verb}: {error}") from error
        if reply.is_refusal and reply.code != SERVICE_CLOSING:
            raise _Refused(reply)
        if not (reply.code == START_INPUT if verb == "DATA" else reply.is_success):
            raise ServerUnreachable(f"answered {verb} with {str(reply)!r}")


def _read(verb: str, code: int, text: bytes | str) -> Reply:
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return Reply(verb, code, " ".join(shown.split()))


def _outcome_unknown(where: str, what: str) -> MailOutcomeUnknown:
    log.warning("mail server vanished before its answer", server=where, problem=mask_addresses(what))
    return MailOutcomeUnknown(
        f"The mail server {where} took the whole mail and did not say whether it keeps it ({mask_addresses(what)}). "
        "The mail is sent again with the same Message-ID."
    )
