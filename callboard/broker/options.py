"""Options of actors and messages that are looked at before anything is stored: later, nobody would be there to tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

#: Options that are spans of time, ms.
SPANS = ("retry_for", "time_limit_margin")


def is_span(value: Any) -> TypeGuard[float]:
    """Tell whether a value can be a span in ms."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def wrong_span(options: Mapping[str, Any]) -> str | None:
    """Return what is wrong about the spans among these options, as the end of a sentence; None if nothing is."""
    for name in SPANS:
        value = options.get(name)
        if value is not None and not is_span(value):
            return f"has {name} {value!r}. Give milliseconds, 0 or more, or leave it out."
    return None
