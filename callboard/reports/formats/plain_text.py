"""Text from outside, made harmless before any renderer sees it."""

from __future__ import annotations

import re
from typing import Any

# NUL and the other control characters are illegal in XML or move the cursor; lone surrogates are no text in
# UTF-8; directional overrides make the rest of a line read backwards ("fdp.exe").
_HARMFUL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONG_WORD = re.compile(r"\S{33,}")
_ZERO_WIDTH_SPACE = "\N{ZERO WIDTH SPACE}"
_BREAK_EVERY = 12


def clean(value: Any) -> str:
    """Return the value as text with every harmful character visibly replaced."""
    return _HARMFUL.sub(_REPLACEMENT, str(value))


def shorten(text: str, length: int = 300) -> str:
    """Return the text on one line; beyond length characters, its start and how much was cut."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length]}… ({len(line) - length:,} more)"


def breakable(text: str) -> str:
    """Return the text with places to break in very long words, which would else run off the page."""
    return _LONG_WORD.sub(
        lambda word: _ZERO_WIDTH_SPACE.join(
            word[0][start : start + _BREAK_EVERY] for start in range(0, len(word[0]), _BREAK_EVERY)
        ),
        text,
    )
