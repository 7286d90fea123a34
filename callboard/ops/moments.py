"""Moments and spans of time as people write them: 2h, 30min, 2026-11-24T18:00, 2026-11-24."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from callboard.errors import InvalidRequest

_UNITS = {
    "s": timedelta(seconds=1),
    "sec": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)
#: Longest span, ten years; Postgres knows no moments far beyond.
SPAN_MAX = timedelta(days=3650)
EXAMPLES = "Write a span such as 90s, 30min, 2h or 7d, or a moment such as 2026-11-24T18:00 (UTC unless it says)."


def parse_span(text: str, *, name: str) -> timedelta:
    """Return a span; name says which argument is wrong. Raises: InvalidRequest."""
    found = _SPAN.fullmatch(text)
    unit = _UNITS.get(found[2].lower()) if found else None
    # A longer number could be more than a timedelta holds.
    if found is None or unit is None or not 0 < float(found[1]) * (unit / SPAN_MAX) <= 1:
        raise InvalidRequest(
            f"{name} {text!r} is no span of time. Write one such as 90s, 30min, 2h or 7d, up to 3650d."
        )
    return float(found[1]) * unit


def parse_future(text: str, *, name: str, now: datetime | None = None) -> datetime:
    """Return a moment that is still to come; a span counts from now. Raises: InvalidRequest."""
    now = now or datetime.now(UTC)
    moment = now + parse_span(text, name=name) if _SPAN.fullmatch(text) else _moment(text, name)
    if moment <= now:
        raise InvalidRequest(f"{name} {text!r} has passed ({moment.isoformat()}). Give a moment that is still to come.")
    return moment


def parse_past(text: str, *, name: str, now: datetime | None = None) -> datetime:
    """Return a moment that has passed; a span counts back from now. Raises: InvalidRequest."""
    now = now or datetime.now(UTC)
    moment = now - parse_span(text, name=name) if _SPAN.fullmatch(text) else _moment(text, name)
    if moment > now:
        raise InvalidRequest(f"{name} {text!r} is still to come. Give a moment that has passed.")
    return moment


def check_order(since: datetime | None, until: datetime | None) -> None:
    """Return unless nothing can lie between two moments. Raises: InvalidRequest."""
    if since and until and since > until:
        raise InvalidRequest(
            f"--since is later than --until ({since:%Y-%m-%d %H:%M:%S %Z}, {until:%Y-%m-%d %H:%M:%S %Z}). "
            "Exchange the two."
        )


def _moment(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
        # Postgres knows fewer offsets than Python, and the first and last days have moments outside of both.
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} {text!r} is no moment. {EXAMPLES}") from None
