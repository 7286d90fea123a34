"""What can become of a mail that was not delivered.

MailRefused           it will never be delivered as it is: dead letter at once
└── MailInvalid       it cannot even be built (address, template, context, attachment)
MailOutcomeUnknown    the server took it all and vanished before its answer: sent again with the same Message-ID
MailPostponed         nobody's failure: greylisting, a server that is away, a configuration that is wrong
"""

from __future__ import annotations

from callboard.errors import PermanentError, Postponed, TemporaryError
from callboard.log import mask_addresses


class MailRefused(PermanentError):
    """The mail server refused the mail for good; reply is its answer.

    The text ends up in the dead letter, so it shows addresses by their domain only.
    """

    def __init__(self, text: str, *, reply: str | None = None) -> None:
        super().__init__(mask_addresses(text))
        self.reply = reply


class MailInvalid(MailRefused):
    """The mail cannot be built from what the message holds."""


class MailOutcomeUnknown(TemporaryError):
    """The connection broke after the mail's last byte and before the server's answer."""


class MailPostponed(Postponed):
    """The mail has to wait; reply is the server's answer where there was one.

    is_server_answer tells a server that said "later" to this mail from one that serves nobody.
    """

    def __init__(self, reason: str, *, wait_s: float, reply: str | None = None, is_server_answer: bool = False) -> None:
        super().__init__(reason, wait_s=wait_s)
        self.reply = reply
        self.is_server_answer = is_server_answer
