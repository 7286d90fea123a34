"""Headers that are written to the wire here, because Python's email package folds long ones into others.

Where a quoted name is longer than a line, it loses its quotes (CPython's issue 80222), and `"Lee, Ann <eve@x>" <ann@x>`
becomes two addresses; a plain text that looks like an encoded word is read as one; a long file name is cut into pieces
that few mail programs put together again. A Header keeps its value, and its lines are made by the few rules below: a
name stands as plain words, as a quoted string that is broken at its spaces alone, or in encoded words (RFC 2047), in
which no reader finds a comma, a quote or a bracket.
"""

from __future__ import annotations

import re
from base64 import b64encode
from email.headerregistry import Address
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.policy import Policy

    from callboard.mail.addresses import MailAddress

#: Longest line that is written where it can be helped; RFC 5322 asks for 78 with all that belongs to it.
LINE_MAX = 76
#: Bytes of UTF-8 in one encoded word: with its frame it has 72 characters, and RFC 2047 allows 75.
WORD_BYTES = 45
#: Longest `filename*=`, with which its line stays below the 998 characters of RFC 5322; longer ones come in pieces.
FILENAME_MAX = 900
#: What may stand in a quoted string, and in lines that break at spaces alone: single spaces, no endless word.
_PLAIN = re.compile(r"[!-~]{1,200}(?: [!-~]{1,200})*")
#: Words of RFC 5322's atoms, which need no quotes.
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~ -]+", re.ASCII)
_NOT_IN_A_FILENAME = re.compile(r"[^\w .()+,=@~-]", re.ASCII)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
#: RFC 5987's attr-char, which quote() leaves as they are.
_ATTRIBUTE = "!#$&+-.^_`|~"


class Header(str):  # noqa: SLOT000 - a mail has a handful of them
    """A header's value as people read it; email's policies take it for parsed, and ask it for its lines."""

    name: str
    _lines: list[str]
    # What email's own headers have, for those that ask.
    addresses: tuple[Address, ...] = ()
    content_disposition: str | None = None
    params: Mapping[str, Any] = MappingProxyType({})

    def __new__(cls, name: str, value: str, lines: list[str]) -> Self:
        """Keep value for readers, and lines for the wire."""
        header = super().__new__(cls, value)
        header.name = name
        header._lines = lines
        return header

    def fold(self, *, policy: Policy) -> str:
        """Return the header as it goes over the wire."""
        text = f"{self.name}: " + f"{policy.linesep} ".join(self._lines) + policy.linesep
        if text.isascii() or getattr(policy, "utf8", False):
            return text
        # Only a mailbox can still hold other letters, and a server that takes it is spoken to in UTF-8.
        return _NOT_ASCII.sub(lambda found: _encoded_words(found[0], used=0)[0], text)


def plain_header(name: str, value: str) -> Header:
    """Return a header whose value stands on one line as it is, such as a Message-ID."""
    return Header(name, value, [value])


def text_header(name: str, value: str) -> Header:
    """Return a header of free text, such as a Subject."""
    is_plain = _PLAIN.fullmatch(value) is not None and "=?" not in value
    lines = _wrapped(value, used=len(name) + 2) if is_plain else _encoded_words(value, used=len(name) + 2)
    return Header(name, value, lines)


def address_header(name: str, address: MailAddress) -> Header:
    """Return a header with one mailbox, such as From; its addresses are email's own, for whoever reads them."""
    parsed = address.header()
    lines = [*_phrase(address.name, used=len(name) + 2), f"<{address.mailbox}>"] if address.name else [address.mailbox]
    if len(lines) == 2 and len(name) + len(lines[0]) + len(lines[1]) < LINE_MAX:  # noqa: PLR2004 - a name and its mailbox
        lines = [" ".join(lines)]
    header = Header(name, str(parsed), lines)
    header.addresses = (parsed,)
    return header


def attachment_header(filename: str) -> Header:
    """Return the Content-Disposition of an attachment: its name whole, and in ASCII for who reads no other.

    The whole name comes first: Python's own reader, and others that take the first of two, find that one.
    """
    fallback = _NOT_IN_A_FILENAME.sub("_", filename)[:FILENAME_MAX]
    is_plain = fallback == filename and len(filename) < LINE_MAX // 2
    names = [] if is_plain else _whole_filename(quote(filename, safe=_ATTRIBUTE))
    readable = re.sub(r'(["\\])', r"\\\1", filename)
    lines = ["attachment;", *(f"{part};" for part in names), f'filename="{fallback}"']
    header = Header("Content-Disposition", f'attachment; filename="{readable}"', lines)
    header.content_disposition = "attachment"
    header.params = {"filename": filename}
    return header


def _whole_filename(value: str) -> list[str]:
    """Return one `filename*=`; RFC 2231's pieces only of a name that no line may hold."""
    if len(value) <= FILENAME_MAX:
        return [f"filename*=utf-8''{value}"]
    # Never within the three characters of a percent sign.
    pieces = re.findall(rf"(?:%..|[^%]){{1,{FILENAME_MAX // 3}}}", value)
    pieces[0] = f"utf-8''{pieces[0]}"
    return [f"filename*{number}*={piece}" for number, piece in enumerate(pieces)]


def _phrase(name: str, *, used: int) -> list[str]:
    """Return the lines of a name: words, a quoted string or encoded words."""
    if "=?" in name or not _PLAIN.fullmatch(name):
        return _encoded_words(name, used=used)
    if _ATOMS.fullmatch(name):
        return _wrapped(name, used=used)
    quoted = re.sub(r'(["\\])', r"\\\1", name)
    return _wrapped(f'"{quoted}"', used=used)


def _encoded_words(text: str, *, used: int) -> list[str]:
    """Return the text as encoded words, one a line, each of whole characters; readers join them without a space.

    Broken before a space where there is one: readers that wrongly keep the line break's space cut no word then.
    """
    words, word, room = [], "", min(WORD_BYTES, (LINE_MAX - used - 12) * 3 // 4)
    for character in text:
        if len((word + character).encode()) > room:
            at = word.rfind(" ") if word.rfind(" ") > 0 else len(word)
            words.append(word[:at])
            word, room = word[at:], WORD_BYTES
        word += character
    return [f"=?utf-8?b?{b64encode(word.encode()).decode()}?=" for word in [*words, word]]


def _wrapped(text: str, *, used: int) -> list[str]:
    """Return plain text in lines that break at its spaces."""
    lines: list[str] = []
    for word in text.split(" "):
        room = LINE_MAX - (used if len(lines) < 2 else 1)  # noqa: PLR2004 - the first line stands after the name
        if lines and len(lines[-1]) + 1 + len(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
