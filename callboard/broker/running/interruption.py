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
    """The way into one run of an actor, for one exception; opened and closed by the thread that runs it.

    What the actor does on an event loop, or in threads of its own, is stopped by way of that one, which waits for it.
    """

    __slots__ = ("_is_held_off", "_lock", "_thread_id", "_was_used")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._was_used = False
        self._is_held_off = False

    @property
    def is_open(self) -> bool:
        return self._thread_id is not None

    def open(self) -> None:
        self._thread_id = threading.get_ident()

    def interrupt(self, kind: type[Interrupt]) -> bool:
        """Raise an exception of this kind in the actor; False where it does not run, or was interrupted before."""
        with self._lock:
            if self._thread_id is None or self._was_used or self._is_held_off:
                return False
            self._was_used = True
            raise_thread_exception(self._thread_id, kind)
            return True

    def close(self) -> None:
        """Let nothing in from now on, and take back what was set and not raised yet."""
        while True:
            try:
                self._thread_id = None
                self._take_back_here()
            except Interrupt:
                continue  # It came in the last moment: the actor has ended without it.
            return

    def hold_off(self) -> None:
        """Let nothing in until let_in(), and take back what was not raised yet; from any thread of the actor."""
        if threading.get_ident() != self._thread_id:
            self._is_held_off = True
            # Under the lock: once close() is through, the thread may run another message, whose exceptions are its own.
            with self._lock:
                if self._was_used and self._thread_id is not None:
                    _take_back(self._thread_id)
            return
        while True:
            try:
                self._is_held_off = True
                self._take_back_here()
            except Interrupt:
                continue  # As in close().
            return

    def let_in(self) -> None:
        """End what hold_off() began."""
        self._is_held_off = False

    def _take_back_here(self) -> None:
        # Not taken: an exception between the lock and its use would leave it locked for ever.
        while self._lock.locked():
            time.sleep(0)
        if self._was_used:
            _take_back(threading.get_ident())


def _take_back(thread_id: int) -> None:
    """Clear the exception that is set for a thread."""
    if sys.implementation.name == "cpython":  # Nowhere else is one set.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), None)
