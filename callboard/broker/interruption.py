"""Stopping an actor from another thread: the exception reaches this message's actor, or nobody.

Python raises an exception that one thread sets for another wherever that one is. In Dramatiq's own code after the
actor it would end the thread for good, and in the next message it would stop the wrong one. So it is set only while
the actor itself runs, once for each run, and taken back where the actor was faster: a second one could come while the
first one is being dealt with, where nothing catches it.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time

from dramatiq.middleware import Interrupt, raise_thread_exception


class Interruption:
    """The way into one run of an actor, for one exception; opened and closed by the thread that runs it."""

    __slots__ = ("_lock", "_thread_id", "_was_used")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._was_used = False

    @property
    def is_open(self) -> bool:
        return self._thread_id is not None

    def open(self) -> None:
        self._thread_id = threading.get_ident()

    def interrupt(self, kind: type[Interrupt]) -> bool:
        """Raise an exception of this kind in the actor; False where it does not run, or was interrupted before."""
        with self._lock:
            if self._thread_id is None or self._was_used:
                return False
            self._was_used = True
            raise_thread_exception(self._thread_id, kind)
            return True

    def close(self) -> None:
        """Let nothing in from now on, and take back what was set and not raised yet."""
        while True:
            try:
                self._thread_id = None
                # Not taken: an exception between the lock and its use would leave it locked for ever.
                while self._lock.locked():
                    time.sleep(0)
                if self._was_used:
                    _take_back()
            except Interrupt:
                continue  # It came in the last moment: the actor has ended without it.
            return


def _take_back() -> None:
    """Clear the exception that is set for this thread."""
    if sys.implementation.name == "cpython":  # Nowhere else is one set.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)
