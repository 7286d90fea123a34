"""Delivery over SMTP, in phases, because what a lost connection means depends on how far the mail got.

Before the mail's final dot nothing was accepted: a connection that was reused is replaced once, a
fresh one that fails postpones the mail. After the dot and before the answer the outcome is unknown:
the mail is sent again with the same Message-ID, because a mail that comes twice is better than one
that never comes. What an answer means is the matter of answer_rules.py.
"""

from __future__ import annotations

import random
import re
import smtplib
import time
from typing import TYPE_CHECKING

from callboard.errors import ConfigurationError
from callboard.log import get_logger, mask_addresses
from callboard.mail.answers.answer import DATA, END, Fate, Reply
from callboard.mail.answers.rules import rule_for
from callboard.mail.errors import Blame, MailOutcomeUnknown, MailPostponed, MailRefused
from callboard.mail.message import POLICY, envelope_sender
from callboard.mail.smtp.connection import (
    Connection,
    OpeningRefused,
    ServerUnreachable,
    borrow_connection,
    close_connection,
    drop_connection,
    reset_connection,
)
from callboard.mail.smtp.conversation import Interrupted, Refused, introduce, say
from callboard.mail.smtp.health import mail_health

if TYPE_CHECKING:
    from email.message import EmailMessage

    from callboard.mail.answers.answer import Rule
    from callboard.settings import Settings

log = get_logger(__name__)

#: The one answer after which a server hangs up, and a reused connection is only old.
SERVICE_CLOSING = 421
START_INPUT = 354
#: The wait of an outage grows by this part of its length, up to this many times the first.
OUTAGE_GROWTH = 0.25
OUTAGE_WAITS_MAX = 10
#: A server's own words in the reason, characters.
WORDS_MAX = 200
_LINE_START_DOT = re.compile(rb"^\.", re.MULTILINE)


class SmtpTransport:
    """Hand mails to the server that the settings name; see connection.py for the connection's life."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def send(self, email: EmailMessage) -> str:
        """Deliver to the one recipient and return the server's answer.

        Raises: MailRefused, MailPostponed, MailOutcomeUnknown.
        """
        recipient: str = email["To"].addresses[0].addr_spec
        mail = str(email["Message-ID"])
        try:
            reply = self._deliver(envelope_sender(self._settings, email), recipient, email)
        except Refused as refusal:
            if refusal.reply.code == SERVICE_CLOSING:
                drop_connection()
            else:
                reset_connection()
            raise self._verdict(refusal.reply, recipient, mail) from None
        except ServerUnreachable as error:
            drop_connection()
            raise self._unreachable(error, mail) from error
        except ConfigurationError as error:
            close_connection()
            kind = error.rule.name if isinstance(error, OpeningRefused) else str(error)
            mail_health.is_misconfigured(self._where, str(error), kind=kind)
            raise self._outage(f"mail settings do not work: {error}", str(error), Blame.SERVER) from error
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
        written = [email[header].addresses[0].addr_spec for header in ("From", "To", "Reply-To") if header in email]
        is_utf8 = not "".join([sender, *written]).isascii()
        content = _LINE_START_DOT.sub(b"..", email.as_bytes(policy=POLICY.clone(utf8=is_utf8)))
        if not content.endswith(b"\r\n"):
            content += b"\r\n"
        connection = self._begin(sender, recipient, len(content), is_utf8=is_utf8)
        connection.mails += 1
        try:
            connection.smtp.send(content + b".\r\n")
        except OSError as error:
            raise Interrupted(f"hung up in the middle of the mail: {error}") from error
        try:
            code, text = connection.smtp.getreply()
        except (OSError, smtplib.SMTPException) as error:
            raise _outcome_unknown(self._where, str(error)) from error
        reply = Reply.read(END, code, text)
        if reply.is_refusal:
            raise Refused(reply)
        if not reply.is_success:
            raise _outcome_unknown(self._where, f"its answer {str(reply)!r} makes no sense")
        connection.used_at_s = time.monotonic()
        return reply

    def _begin(self, sender: str, recipient: str, size_bytes: int, *, is_utf8: bool) -> Connection:
        """Say MAIL, RCPT and DATA; a reused connection that fails meanwhile is replaced once."""
        connection = borrow_connection(self._settings)
        try:
            _ask_to_begin(connection.smtp, sender, recipient, size_bytes, is_utf8=is_utf8)
        except (Interrupted, Refused) as error:
            is_closing = isinstance(error, Interrupted) or error.reply.code == SERVICE_CLOSING
            if connection.is_fresh or not is_closing:
                raise
            drop_connection()
            connection = borrow_connection(self._settings)
            _ask_to_begin(connection.smtp, sender, recipient, size_bytes, is_utf8=is_utf8)
        return connection

    def _verdict(self, reply: Reply, recipient: str, mail: str) -> Exception:
        """Return what becomes of a mail that the server did not take."""
        rule, domain = rule_for(reply), recipient.rpartition("@")[2]
        reason, shown = rule.reason.format(domain=domain), mask_addresses(str(reply))
        said = f"{reason}: {shown[:WORDS_MAX]}"
        match rule.fate:
            case Fate.REFUSED:
                mail_health.is_well(self._where)
                kind = f"{reply.enhanced or reply.code} {rule.name}"
                text = f"Mail to {domain} was refused at {reply.verb} ({reason}): {reply}"
                return MailRefused(text, reply=str(reply), kind=kind)
            case Fate.LATER:
                mail_health.is_well(self._where)
                log.info("mail deferred by its server", to_domain=domain, code=reply.code, verb=reply.verb)
                wait_s = self._settings.smtp_greylist_wait_s
                return MailPostponed(said, wait_s=wait_s, reply=str(reply), blame=Blame.MAIL)
            case Fate.SETTINGS:
                problem = f"The mail server {self._where} answered {shown!r} to {reply.verb}: {reason}. {rule.advice}"
                mail_health.is_misconfigured(self._where, problem, kind=rule.name)
                blame = self._blame(mail, Blame.OURS)
                return self._outage(f"mail settings do not work, {said}", str(reply), blame)
        return self._no_service(said, str(reply), rule, self._blame(mail, Blame.UNCLEAR))

    def _unreachable(self, error: ServerUnreachable, mail: str) -> MailPostponed:
        blame = self._blame(mail, Blame.UNCLEAR) if isinstance(error, Interrupted) else Blame.SERVER
        what = str(error)
        reason = error.rule.reason if error.rule is not None else "mail server cannot be reached"
        return self._no_service(f"{reason}: {what[:WORDS_MAX]}", what, error.rule, blame)

    def _no_service(self, reason: str, reply: str, rule: Rule | None, blame: Blame) -> MailPostponed:
        if rule is not None and rule.fate is Fate.LIMIT:
            mail_health.is_limiting(self._where, f"{mask_addresses(reply)}. {rule.advice}")
            blame = Blame.OURS if blame is Blame.UNCLEAR else blame
            return self._outage(reason, reply, blame, first_wait_s=self._settings.smtp_greylist_wait_s)
        mail_health.is_down(self._where, mask_addresses(reply))
        return self._outage(reason, reply, blame)

    def _blame(self, mail: str, alone: Blame) -> Blame:
        """Return whose trouble it is: of all, where another mail failed too since one got through."""
        return alone if mail_health.fails_alone(self._where, mail) else Blame.SERVER

    def _outage(self, reason: str, reply: str, blame: Blame, *, first_wait_s: float | None = None) -> MailPostponed:
        wait_s = first_wait_s or self._settings.smtp_outage_wait_s
        grown_s = wait_s + OUTAGE_GROWTH * mail_health.troubled_for_s(self._where)
        # Spread, so that a night's mails do not all knock at the same second.
        spread = random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not cryptography
        return MailPostponed(reason, wait_s=min(grown_s, wait_s * OUTAGE_WAITS_MAX) * spread, reply=reply, blame=blame)


def _ask_to_begin(smtp: smtplib.SMTP, sender: str, recipient: str, size_bytes: int, *, is_utf8: bool) -> None:
    introduce(smtp, sender, recipient, size_bytes=size_bytes, is_utf8=is_utf8)
    say(DATA, lambda: smtp.docmd("DATA"), success=START_INPUT)


def _outcome_unknown(where: str, what: str) -> MailOutcomeUnknown:
    log.warning("mail server vanished before its answer", server=where, problem=mask_addresses(what))
    return MailOutcomeUnknown(
        f"The mail server {where} took the whole mail and did not say whether it keeps it ({mask_addresses(what)}). "
        "The mail is sent again with the same Message-ID."
    )
