"""An answer of a mail server, and the form of the rules that judge it; answer_rules.py holds the rules.

The basic code alone cannot tell "this mailbox does not exist" from "not today" or "not from you": all of them come as
550. The enhanced status code (RFC 3463) and the server's sentence can.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from callboard.mail.addresses import CONTROL_CHARACTERS

#: Longest answer that is kept, characters.
ANSWER_MAX = 500

#: The conversation's phases: an answer to the connection, to a command, to the whole mail.
CONNECT, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, END = (
    *("CONNECT", "EHLO", "STARTTLS", "AUTH"),
    *("MAIL", "RCPT", "DATA", "end of mail"),
)
OPENING = frozenset({CONNECT, EHLO, STARTTLS, AUTH})
TRANSACTION = frozenset({MAIL, RCPT, DATA, END})

_ENHANCED = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")
#: Addresses and links quote what we sent or point elsewhere: their words decide nothing.
_QUOTED = re.compile(r"<[^<>]*>|[^\s@<>\"',;:()]+@[^\s@<>\"',;:()]+|https?://\S+")


class Fate(StrEnum):
    """What becomes of a mail."""

    REFUSED = "refused"
    LATER = "later"
    LIMIT = "limit"
    SETTINGS = "settings"
    OUTAGE = "outage"


@dataclass(frozen=True)
class Reply:
    """A server's answer in one phase; enhanced is its status code of RFC 3463, or empty."""

    verb: str
    code: int
    text: str
    enhanced: str = ""

    @classmethod
    def read(cls, verb: str, code: int, text: bytes | str) -> Reply:
        """Read an answer of one or more lines; each line may repeat the enhanced code."""
        decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        lines = [" ".join(CONTROL_CHARACTERS.sub(" ", line).split()) for line in decoded.splitlines()]
        found = _ENHANCED.match(lines[0]) if lines else None
        if found:
            lines[1:] = [line.removeprefix(found[0]).lstrip() for line in lines[1:]]
        whole = " ".join(lines)
        # qmail and others put it in brackets at the end: "sorry, no mailbox here by that name (#5.1.1)".
        found = found or re.search(r"(?<=#)[245]\.\d{1,3}\.\d{1,3}\b", whole) or _ENHANCED.match(whole)
        return cls(verb, code, whole[:ANSWER_MAX], found[0] if found else "")

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
        """Return whether the server said no for good: both of its codes where it gives two."""
        return self.code >= 500 and not self.enhanced.startswith("4")  # noqa: PLR2004 - SMTP's permanent refusals

    @property
    def words(self) -> str:
        """Return the sentence in small letters, without what it quotes."""
        return " ".join(_QUOTED.sub(" ", self.text).lower().split())

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip() if self.code > 0 else self.text


@dataclass(frozen=True)
class Rule:
    """Answers that mean one thing: in one of phases, with one of codes or enhanced codes or with words that fit."""

    name: str
    fate: Fate
    #: What is wrong, for people; {domain} is the recipient's.
    reason: str
    #: An answer that it is for.
    example: str
    source: str
    phases: frozenset[str] = TRANSACTION | OPENING
    codes: frozenset[int] = frozenset()
    enhanced: re.Pattern[str] | None = None
    words: re.Pattern[str] | None = None
    #: Only refusals for good; those for now are left to the rules below.
    is_permanent: bool = False
    #: No code and no words: everything that comes this far.
    is_rest: bool = False
    #: What an operator does about it.
    advice: str = ""

    def fits(self, reply: Reply) -> bool:
        """Return whether the answer is one of these."""
        if reply.verb not in self.phases or (self.is_permanent and not reply.is_permanent):
            return False
        return (
            self.is_rest
            or reply.code in self.codes
            or (self.enhanced is not None and self.enhanced.fullmatch(reply.enhanced) is not None)
            or (self.words is not None and self.words.search(reply.words) is not None)
        )


def any_of(*patterns: str) -> re.Pattern[str]:
    """Return the pattern that finds what any of these finds."""
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
