"""What stays of an error's text from message to message: no numbers, ids, quoted values, addresses and paths."""

from __future__ import annotations

import re
from typing import Any

#: What stands for everything that was removed.
GAP = "…"
#: How much of a text is looked at, characters; what tells causes apart stands at its beginning.
GIST_MAX = 500

_REMOVED = re.compile(
    r"""
    (?<!\w)(?:'[^']*'|"[^"]*"|`[^`]*`)(?!\w)  # a quoted value
    | «[^»]*» | “[^”]*”
    | [a-z][a-z0-9+.-]*://\S+                 # an address of the web, of a database
    | [^\s@<>]+@[^\s@<>,;:)]+                 # a mail address
    | (?<![\w/])(?:[A-Za-z]:[\\/]|~?\.{0,2}/)[^\s:,;)'"]+  # a path
    | \b[0-9a-f]{8,}\b                        # an id without a digit
    | [\w.:+-]*\d[\w.:+-]*                    # a number, or a word with one: an id, a version, a moment
    """,
    re.IGNORECASE | re.VERBOSE,
)
_GAPS = re.compile(rf"{GAP}(?:[\s,;/]*{GAP})+")
_SPACES = re.compile(r"\s+")


def gist(text: str) -> str:
    """Return a text without what differs from message to message."""
    return _SPACES.sub(" ", _GAPS.sub(GAP, _REMOVED.sub(GAP, text[:GIST_MAX]))).strip()


def text_of(value: Any, limit: int = GIST_MAX) -> str:
    """Return the text of an exception or a note, cut; whatever its __str__ does."""
    try:
        # The slice of str itself: what __str__ returned may be of a class that slices otherwise.
        return str.__getitem__(str(value), slice(limit))
    except BaseException as failure:  # noqa: BLE001 - somebody else's __str__ may raise anything
        return f"<its text failed with {type.__dict__['__name__'].__get__(type(failure))}>"
