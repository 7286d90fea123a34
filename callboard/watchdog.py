"""One thread a process that shuts the socket of whatever takes too long.

A timeout of a socket starts anew with every byte, so whoever sends a byte now and then holds a thread for ever. A
deadline holds for a whole answer: of Postgres (callboard.db.connections.deadline), of a mail server, of YooKassa.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

_TICK_S = 0.1


class Watchdog:
    """Shuts sockets whose time is over; a call that is blocked on one then fails like any lost connection."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Watch nothing yet; also after a fork, where the thread is gone and another one may have held the lock."""
        self._lock = threading.Condition()
        self._watched: dict[object, tuple[int, float]] = {}
        self._thread: threading.Thread | None = None

    def watch(self, fd: int, timeout_s: float) -> object:
        """Shut fd after timeout_s unless the returned token is handed to unwatch() before."""
        token = object()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="callboard-deadlines", daemon=True)
                self._thread.start()
            self._watched[token] = (fd, time.monotonic() + timeout_s)
            if len(self._watched) == 1:
                self._lock.notify()
        return token

    def move(self, token: object, timeout_s: float) -> None:
        """Shut after timeout_s from now instead; what was shut already stays so."""
        with self._lock:
            if watched := self._watched.get(token):
                self._watched[token] = (watched[0], time.monotonic() + timeout_s)

    def unwatch(self, token: object) -> bool:
        """Stop watching; return whether the deadline was kept."""
        with self._lock:
            return self._watched.pop(token, None) is not None

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._watched:
                    self._lock.wait()
                now = time.monotonic()
                for token in [token for token, (_, at) in self._watched.items() if at <= now]:
                    _shut(self._watched.pop(token)[0])
            time.sleep(_TICK_S)


def _shut(fd: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as peer:
        peer.shutdown(socket.SHUT_RDWR)


watchdog = Watchdog()
# Not at the first use: here the child has one thread still, so nobody meets the watchdog half renewed.
os.register_at_fork(after_in_child=watchdog.begin_anew)


class Allowance:
    """The time that a block of calls to somebody else has, over whatever sockets it uses."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._end_clock = time.monotonic() + timeout_s
        # Copies: a number that was closed meanwhile may be another connection's by now.
        self._watched: dict[object, int] = {}

    def cover(self, peer: socket.socket) -> None:
        """Shut this socket too when the time is over."""
        descriptor = os.dup(peer.fileno())
        self._watched[watchdog.watch(descriptor, self._end_clock - time.monotonic())] = descriptor

    def end(self) -> bool:
        """End the watch; return whether the block was in time, at the first call."""
        in_time = [watchdog.unwatch(token) for token in self._watched]
        for descriptor in self._watched.values():
            os.close(descriptor)
        self._watched.clear()
        return all(in_time)

    def __str__(self) -> str:
        return f"the answer did not end within {self._timeout_s:g} s"


class Limit(Protocol):
    """The time of a block, which says when it is over."""

    def end(self) -> bool:
        """End the watch; return whether the block was in time, at the first call."""


_Limit = TypeVar("_Limit", bound=Limit)


@contextmanager
def within(limit: _Limit) -> Iterator[_Limit]:
    """Lend a limit for the block. Raises: TimeoutError, with the limit's text, for what failed when it was over."""
    try:
        yield limit
    except Exception as error:
        if not limit.end():
            raise TimeoutError(str(limit)) from error
        raise
    finally:
        limit.end()


def allowing(timeout_s: float, peer: socket.socket | None = None) -> AbstractContextManager[Allowance]:
    """Give the block so long, and shut the sockets that it covers when it takes longer.

    Raises: TimeoutError in place of what the call in flight fails with then, as its cause.
    """
    allowance = Allowance(timeout_s)
    if peer is not None:
        allowance.cover(peer)
    return within(allowance)
