"""What can become of a mail that was not delivered.

MailRefused           it will never be delivered as it is: dead letter at once
└── MailInvalid       it cannot even be built (address, template, context, attachment)
MailOutcomeUnknown    the server took it all and vanished before its answer: sent again with the same Message-ID
MailPostponed         nobody's failure: greylisting, a server that is away, a configuration that is wrong
"""

from __future__ import annotations

from enum import StrEnum

from callboard.errors import PermanentError, Postponed, TemporaryError
from callboard.log import mask_addresses


class MailRefused(PermanentError):
    """The mail server refused the mail for good; reply is its answer.

    The text ends up in the dead letter, so it shows addresses by their domain only. kind is the server's code with what
    it means, so that dead letters are grouped by it.
    """

    def __init__(self, text: str, *, reply: str | None = None, kind: str | None = None) -> None:
        super().__init__(mask_addresses(text))
        self.reply = reply
        self.kind = kind


class MailInvalid(MailRefused):
    """The mail cannot be built from what the message holds."""


class MailOutcomeUnknown(TemporaryError):
    """The connection broke after the mail's last byte and before the server's answer."""


class Blame(StrEnum):
    """Whose trouble keeps a mail from being delivered."""

    #: The server answered about this mail: its days are counted.
    MAIL = "mail"
    #: This mail alone has failed so far, as the server's trouble would show too: others tell.
    UNCLEAR = "unclear"
    #: The same of our settings or limits: it is the mail's own trouble only where others get through.
    OURS = "ours"
    #: No mail gets through: nothing is given up, and no mail's days are counted.
    SERVER = "server"


class MailPostponed(Postponed):
    """The mail has to wait; reply is the server's answer where there was one. reason shows addresses by domain only."""

    def __init__(self, reason: str, *, wait_s: float, reply: str | None = None, blame: Blame = Blame.SERVER) -> None:
        super().__init__(mask_addresses(reason), wait_s=wait_s)
        self.wait_s: float = wait_s
        self.reply = reply
        self.blame = blame

    @property
    def is_server_answer(self) -> bool:
        """Return whether a server said "later" to this mail, and not that it serves nobody."""
        return self.blame is Blame.MAIL
