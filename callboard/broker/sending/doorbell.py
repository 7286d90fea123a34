"""The doorbell's sending side: one empty NOTIFY for each message while they are few, one for many when they are not."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable

#: Rings of a process that sends all the time are at least this far apart, s.
RING_INTERVAL_S = 0.05
#: A process that has sent nothing for this long is idle, and rings at once, s.
IDLE_S = 0.015
#: So many messages that follow sooner may ring at once too, for each one that did not: who sends every 20 ms is late
#: and early now and then.
CREDITS_MAX = 4

_doorbells: weakref.WeakSet[Doorbell] = weakref.WeakSet()


class Doorbell:
    """Ring at once when the process was idle or its last ring is a while ago, else once at the end of the interval.

    ring_now sends one NOTIFY in a transaction of its own. What a process that dies in between would
    have rung for, the workers' safety poll finds.
    """

    def __init__(self, ring_now: Callable[[], None]) -> None:
        self._ring_now = ring_now
        self._rang_at = float("-inf")
        self._asked_at = float("-inf")
        self._credits = 0
        self._begin_anew()
        _doorbells.add(self)

    def _begin_anew(self) -> None:
        """Owe no ring; also after a fork, where another thread may have held the lock and no timer runs."""
        self._lock = threading.Lock()
        self._later: threading.Timer | None = None

    def is_due(self) -> bool:
        """Tell whether the caller should ring with its own statement; if not, it calls ring_later() after it."""
        with self._lock:
            now = time.monotonic()
            was_idle = self._asked_at + IDLE_S <= now
            is_due = was_idle or self._rang_at + RING_INTERVAL_S <= now
            self._asked_at = now
            if was_idle:
                self._credits = min(self._credits + 1, CREDITS_MAX)
            elif not is_due and self._credits:
                self._credits -= 1
                is_due = True
            if is_due:
                self._rang_at = now
            return is_due

    def ring_later(self) -> None:
        """Ring at the end of the interval for what is committed by now."""
        with self._lock:
            if self._later is None or not self._later.is_alive():
                wait_s = max(self._rang_at + RING_INTERVAL_S - time.monotonic(), 0)
                self._later = threading.Timer(wait_s, self._ring_late)
                self._later.daemon = True
                self._later.start()

    def flush(self) -> None:
        """Ring now if a ring is owed, at the end of the process."""
        with self._lock:
            owed, self._later = self._later, None
        if owed is not None and owed.is_alive():
            owed.cancel()
            self._ring_now()

    def _ring_late(self) -> None:
        with self._lock:
            self._rang_at = time.monotonic()
            self._later = None
        self._ring_now()


def _begin_anew_after_fork() -> None:
    for doorbell in list(_doorbells):
        doorbell._begin_anew()  # noqa: SLF001 - this module's own


os.register_at_fork(after_in_child=_begin_anew_after_fork)
