"""A client-side deadline for any call on a psycopg2 connection.

libpq's own settings do not free a query whose packets are acknowledged but never forwarded, and
statement_timeout needs a server that answers. So one thread a process shuts the socket of a
connection whose call is overdue; the blocked call then fails like any lost connection.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TICK_S = 0.1


class _Watchdog:
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


_watchdog = _Watchdog()
# Not at the first use: here the child has one thread still, so nobody meets the watchdog half renewed.
os.register_at_fork(after_in_child=_watchdog.begin_anew)


class Deadline:
    """The end of a block of calls, and of the step it is at where it has several."""

    def __init__(self, connection: Any, timeout_s: float, step_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._step_s = timeout_s if step_s is None else step_s
        self._end_clock = time.monotonic() + timeout_s
        self._token = _watchdog.watch(connection.fileno(), min(self._step_s, timeout_s))

    def begin_step(self) -> None:
        """Give what comes next step_s from now on, but never more than is left of the whole."""
        _watchdog.move(self._token, min(self._step_s, self._end_clock - time.monotonic()))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take nothing off the step for the block, in which no call is made; after it the next one begins."""
        _watchdog.move(self._token, self._end_clock - time.monotonic())
        try:
            yield
        finally:
            self.begin_step()

    def keep(self) -> bool:
        """End the watch; return whether the deadline was kept."""
        return _watchdog.unwatch(self._token)

    def __str__(self) -> str:
        is_over = time.monotonic() >= self._end_clock
        return f"Postgres did not answer within {self._timeout_s if is_over else self._step_s:g} s."


@contextmanager
def deadline(connection: Any, timeout_s: float, step_s: float | None = None) -> Iterator[Deadline]:
    """Let calls on the connection inside the block take timeout_s at most, and step_s each step they say they begin.

    When it passes, the call in flight fails with psycopg2.OperationalError and the connection is lost.
    Raises: TimeoutError in place of that error, with the error as its cause.
    """
    limit = Deadline(connection, timeout_s, step_s)
    try:
        yield limit
    except Exception as error:
        if not limit.keep():
            raise TimeoutError(str(limit)) from error
        raise
    finally:
        limit.keep()
