"""Deliver a mail for a queue message: once by the books, twice at most where the outcome was lost.

1. The row in callboard.emails says "sending" before the conversation, with the Message-ID of all attempts.
2. The mail server says 250: the row says "sent". Whoever gets the same message again sends nothing.
3. The process dies in between: the row still says "sending", nobody knows more, the mail is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from callboard.db import RECONNECT_ERRORS, Pool, sql
from callboard.errors import ConfigurationError
from callboard.log import get_logger
from callboard.mail.errors import Blame, MailOutcomeUnknown, MailPostponed, MailRefused
from callboard.mail.message import Attachment, build_email
from callboard.mail.smtp.health import mail_health
from callboard.mail.transports import transport_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from email.message import EmailMessage

    from callboard.settings import Settings

log = get_logger(__name__)

#: A server that keeps saying "later" is believed for as long as mail servers do among themselves (RFC 5321, 4.5.4.1).
GIVE_UP_AFTER_S = 5 * 24 * 3600.0
#: A mail's own waits grow with the time it is tried (5, 10, 20 minutes …) up to this, s.
LONGEST_WAIT_S = 4 * 3600.0


@dataclass(frozen=True)
class _Begun:
    is_sent: bool
    reply: str | None
    tried_for_s: float


def deliver(
    settings: Settings,
    pool: Pool,
    *,
    message_id: str,
    to: str,
    template: str,
    context: Mapping[str, Any],
    attachments: Sequence[Attachment] = (),
) -> str:
    """Build the mail, deliver it and return the mail server's answer; one that is sent already is not sent again.

    Raises: MailRefused (dead letter), MailPostponed (later, no retry counted), MailOutcomeUnknown (retry).
    """
    try:
        email = build_email(
            settings, message_id=message_id, to=to, template=template, context=context, attachments=attachments
        )
    except ConfigurationError as error:
        # The sender's address is wrong for every mail: they wait for it to be corrected instead of dying.
        mail_health.is_misconfigured("SMTP_FROM", str(error), kind="sender")
        raise MailPostponed("mail settings do not work", wait_s=settings.smtp_outage_wait_s) from error
    to_domain = email["To"].addresses[0].domain
    begun = _begin(pool, email, message_id, template)
    if begun.is_sent:
        log.info("email was sent before", template=template, to_domain=to_domain)
        return begun.reply or ""
    reply = _hand_over(settings, pool, message_id, email, begun.tried_for_s)
    log.info("email sent", template=template, to_domain=to_domain, provider=settings.email_provider)
    return reply


def _hand_over(settings: Settings, pool: Pool, message_id: str, email: EmailMessage, tried_for_s: float) -> str:
    """Send the mail and close its row by what became of it."""
    try:
        reply = transport_for(settings).send(email)
    except MailRefused as error:
        _end(pool, message_id, "refused", error.reply or str(error))
        raise
    except MailPostponed as error:
        if tried_for_s > GIVE_UP_AFTER_S and _is_own_trouble(pool, message_id, error):
            _end(pool, message_id, "refused", error.reply)
            days = f"{tried_for_s / 86_400:.0f} days"
            text = f"The mail was tried for {days} and is given up, last with: {error.reason}"
            raise MailRefused(text, reply=error.reply, kind="given up") from error
        _end(pool, message_id, "sending", error.reply, counts=error.blame is not Blame.SERVER)
        if error.blame is not Blame.SERVER:
            error.wait_s = min(error.wait_s + tried_for_s, max(LONGEST_WAIT_S, error.wait_s))
        raise
    except MailOutcomeUnknown as error:
        _end(pool, message_id, "sending", str(error))
        raise
    _end(pool, message_id, "sent", reply)
    return reply


def _begin(pool: Pool, email: EmailMessage, message_id: str, template: str) -> _Begun:
    with pool.cursor() as cursor:
        cursor.execute(
            sql("mail/begin_sending"),
            {
                "message_id": message_id,
                "template": template,
                "recipient": email["To"].addresses[0].addr_spec,
                "subject": str(email["Subject"]),
                "message_id_header": str(email["Message-ID"]),
            },
        )
        return _Begun(*cursor.fetchone())


def _is_own_trouble(pool: Pool, message_id: str, error: MailPostponed) -> bool:
    """Return whether what keeps a mail back is its own: the server said so, or took others' mails meanwhile."""
    if error.blame in (Blame.MAIL, Blame.SERVER):
        return error.blame is Blame.MAIL
    try:
        with pool.cursor() as cursor:
            cursor.execute(sql("mail/find_others"), {"message_id": message_id})
            (do_others_wait, are_others_served) = cursor.fetchone()
    except (*RECONNECT_ERRORS,):
        # Nobody knows; the next attempt asks again.
        return False
    return bool(are_others_served or (error.blame is Blame.UNCLEAR and not do_others_wait))


def _end(pool: Pool, message_id: str, state: str, reply: str | None, *, counts: bool = True) -> None:
    """Write how the attempt ended, trying twice; the mail's own outcome counts more than this note of it.

    counts is False for an outage, after which the mail's days begin anew.
    An error raised here after the server's 250 would send the mail again, after its 550 keep a dead mail alive.
    """
    parameters = {
        "message_id": message_id,
        "state": state,
        "reply": reply and reply.replace("\0", "")[:1000],
        "counts": counts,
    }
    for is_last in (False, True):
        try:
            with pool.cursor() as cursor:
                cursor.execute(sql("mail/end_sending"), parameters)
        except RECONNECT_ERRORS:
            if is_last:
                log.exception("email outcome could not be written", outcome=state, reply=reply)
        else:
            return
