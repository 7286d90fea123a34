"""What we say to a mail server about one mail before its content, and how its answers are taken."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

from callboard.mail.answers.answer import MAIL, RCPT, Reply
from callboard.mail.errors import MailRefused
from callboard.mail.smtp.connection import ServerUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable


class Refused(Exception):
    """The server said no to a command; reply is its answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Interrupted(ServerUnreachable):
    """The conversation about a mail ended, after the connection had been opened and the login taken."""


def introduce(
    smtp: smtplib.SMTP, sender: str, recipient: str, *, size_bytes: int | None = None, is_utf8: bool = False
) -> list[Reply]:
    """Say who writes to whom, and return the two answers.

    Raises: Refused with the server's answer; Interrupted; MailRefused where it cannot take the address.
    """
    options = [f"SIZE={size_bytes}"] if size_bytes is not None and smtp.has_extn("size") else []
    if is_utf8:
        if not smtp.has_extn("smtputf8"):
            raise MailRefused(
                "The mail server has no SMTPUTF8, which an address with letters outside ASCII before the @ needs. "
                "Use an ASCII address, or a server with SMTPUTF8.",
                kind="no SMTPUTF8",
            )
        options.append("SMTPUTF8")
    return [say(MAIL, lambda: smtp.mail(sender, options)), say(RCPT, lambda: smtp.rcpt(recipient))]


def say(verb: str, step: Callable[[], tuple[int, bytes]], *, success: int | None = None) -> Reply:
    """Say one command and return the answer: any success, or that of the one code.

    Raises: Refused, Interrupted.
    """
    try:
        code, text = step()
    except (OSError, smtplib.SMTPException) as error:
        raise Interrupted(f"hung up after {verb}: {error}") from error
    reply = Reply.read(verb, code, text)
    if reply.is_refusal:
        raise Refused(reply)
    if not (reply.is_success if success is None else reply.code == success):
        raise Interrupted(f"answered {verb} with {str(reply)!r}, as no mail server does")
    return reply
