"""A client-side deadline for any call on a psycopg2 connection.

libpq's own settings do not free a query whose packets are acknowledged but never forwarded, and
statement_timeout needs a server that answers. So one thread a process shuts the socket of a
connection whose call is overdue; the blocked call then fails like any lost connection.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from callboard.watchdog import watchdog, within


class Deadline:
    """The end of a block of calls, and of the step it is at where it has several."""

    def __init__(self, connection: Any, timeout_s: float, step_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._step_s = timeout_s if step_s is None else step_s
        self._end_clock = time.monotonic() + timeout_s
        self._token = watchdog.watch(connection.fileno(), min(self._step_s, timeout_s))

    def begin_step(self) -> None:
        """Give what comes next step_s from now on, but never more than is left of the whole."""
        watchdog.move(self._token, min(self._step_s, self._end_clock - time.monotonic()))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take nothing off the step for the block, in which no call is made; after it the next one begins."""
        watchdog.move(self._token, self._end_clock - time.monotonic())
        try:
            yield
        finally:
            self.begin_step()

    def end(self) -> bool:
        """End the watch; return whether the deadline was kept."""
        return watchdog.unwatch(self._token)

    def __str__(self) -> str:
        is_over = time.monotonic() >= self._end_clock
        return f"Postgres did not answer within {self._timeout_s if is_over else self._step_s:g} s."


def deadline(connection: Any, timeout_s: float, step_s: float | None = None) -> AbstractContextManager[Deadline]:
    """Let calls on the connection inside the block take timeout_s at most, and step_s each step they say they begin.

    When it passes, the call in flight fails with psycopg2.OperationalError and the connection is lost.
    Raises: TimeoutError in place of that error, with the error as its cause.
    """
    return within(Deadline(connection, timeout_s, step_s))
