"""Since when something fails again and again, and of what: what makes a worker process unready."""

from __future__ import annotations

import time

from callboard.db.rows.values import said

#: A failure that is over sooner is nobody's business, s.
FAILING_AFTER_S = 3.0


class Failing:
    """The failures of one thread; begin() and end() are the thread's own, reason() anybody's."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: tuple[float, str] | None = None

    def begin(self, error: BaseException) -> bool:
        """Note a failure; return whether it is the first one since it last went well."""
        is_first = self._since is None
        self._since = (time.monotonic() if self._since is None else self._since[0], said(error))
        return is_first

    def end(self) -> None:
        """Note that it went well."""
        self._since = None

    def reason(self) -> str | None:
        """Return what fails, for how long and why, once it has failed for a while."""
        since = self._since
        if since is None or time.monotonic() - since[0] < FAILING_AFTER_S:
            return None
        return f"{self._what} have failed for {time.monotonic() - since[0]:.0f} s: {since[1]}"
