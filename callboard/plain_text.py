"""Text of strangers, made fit for a terminal, a log line or a JSON document.

A queue's name, an error, a reason come from whoever sent or answered. Control characters among them steer a terminal,
bidirectional marks let it show another order than it has, line breaks make lines that nobody wrote.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_LINES = "\n\t"


def plain(text: str, *, keeps_lines: bool = False) -> str:
    r"""Show what would steer a terminal as its escape, such as \x1b; line breaks and tabs too unless they are meant."""
    return _escaped(text, _LINES if keeps_lines else "", lambda char: char.encode("unicode_escape").decode())


def plain_json(document: str) -> str:
    r"""Write what would steer a terminal as \uXXXX inside a JSON document, where it means the same."""
    return _escaped(document, _LINES, _utf_16)


def _escaped(text: str, kept: str, escape: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) or char in kept else escape(char) for char in text)


def _is_harmless(char: str) -> bool:
    # isprintable() refuses every space but the common one, and a no-break space is daily typography.
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _utf_16(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2))
