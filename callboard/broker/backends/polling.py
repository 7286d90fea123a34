"""Waiting for something in the database that rings no bell of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from callboard.errors import DatabaseUnavailable

#: Shortest and longest pause between two looks, s.
PAUSE_MIN_S = 0.005
PAUSE_MAX_S = 0.5
#: A pause is this share of the wait so far, so that what took a second is noticed a tenth of a second late at most.
PAUSE_SHARE = 0.1

Seen = TypeVar("Seen")


def look_until(look: Callable[[], Seen | None], timeout_s: float | None) -> Seen | None:
    """Return the first answer of look() that is not None, or None when timeout_s has passed without one.

    Between two looks nothing is held: no connection, no lock. A database that is away is waited for as well.
    Raises: DatabaseUnavailable when it was away at the last look.
    """
    begun = time.monotonic()
    while True:
        passed_s = time.monotonic() - begun
        left_s = float("inf") if timeout_s is None else timeout_s - passed_s
        try:
            seen = look()
        except DatabaseUnavailable:
            if left_s <= 0:
                raise
            seen = None
        if seen is not None or left_s <= 0:
            return seen
        time.sleep(min(max(passed_s * PAUSE_SHARE, PAUSE_MIN_S), PAUSE_MAX_S, left_s))
