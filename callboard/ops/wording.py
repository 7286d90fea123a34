"""Moments and spans of time in sentences for people."""

from __future__ import annotations

from datetime import UTC, datetime


def span(seconds: float) -> str:
    """Say a span in the largest unit that keeps it a small number: 12 s, 4 min, 3 h, 2 days."""
    for limit, size, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def moment(at: datetime) -> str:
    """Say a moment in UTC; operators, servers and logs are in several zones."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def many(count: int, noun: str) -> str:
    """Say how many of something: 1 process, 2 processes."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def elapsed_s(since: datetime, until: datetime | None = None) -> float:
    return ((until or datetime.now(UTC)) - since).total_seconds()
