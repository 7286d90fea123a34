"""A pool of connections that waits within a deadline instead of raising when full."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_UNKNOWN

from callboard.db.connections.deadline import deadline
from callboard.db.connections.session import CONNECTION_ERRORS, connect
from callboard.errors import DatabaseUnavailable

#: With less than this left, a new connection would take much too long, s.
CONNECT_LEFT_MIN_S = 1.5
#: Time one call may take unless its caller says otherwise, s.
CALL_TIMEOUT_S = 5.0
#: How often a thread looks whether another one gave a connection back, while the server refuses new ones, s.
RETURN_LOOK_S = 0.02


class Pool:
    """Connections shared by the threads of a process.

    url may be a function, called at the first connection: a pool does no I/O before that. getconn and
    putconn are what dramatiq-pg expects of a pool. After a fork the child starts with an empty pool.
    """

    #: Whether its connections read also what Python has no value for.
    reads_all = False

    def __init__(self, url: str | Callable[[], str], *, size: int = 8, application_name: str = "callboard") -> None:
        self._url = url
        self._size = size
        self._application_name = application_name
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._idle: list[Any] = []
        self._free = threading.BoundedSemaphore(self._size)
        self._lent: set[int] = set()

    @property
    def minconn(self) -> int:
        """Name dramatiq-pg's pools have for their size."""
        return self._size

    @property
    def url(self) -> str:
        return self._url() if callable(self._url) else self._url

    def getconn(self, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Return an idle connection, or a new one, or wait for one.

        Raises: DatabaseUnavailable when none came free or opened within timeout_s.
        """
        connection = self._lend(timeout_s)
        if connection.autocommit:
            connection.autocommit = False
        return connection

    def _lend(self, timeout_s: float) -> Any:
        until = time.monotonic() + timeout_s
        if self._pid != os.getpid():
            self._reset()
        if not self._free.acquire(timeout=max(timeout_s, 0)):
            raise DatabaseUnavailable(
                f"All {self._size} database connections of this process were busy for {round(timeout_s, 1):g} s."
            )
        try:
            connection = self._take_idle() or self._open_or_wait(until)
        except BaseException:
            self._free.release()
            raise
        self._lent.add(id(connection))
        return connection

    def _take_idle(self) -> Any:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if _is_quiet(connection):
                return connection
            connection.close()

    def _open_or_wait(self, until: float) -> Any:
        """Open a connection; where the server has none left, wait for one that another thread gives back."""
        try:
            return self._open(until - time.monotonic())
        except DatabaseUnavailable:
            # With the server away instead, those that are lent are lost as well, and nobody is waited for.
            while self._lent and time.monotonic() < until:
                if connection := self._take_idle():
                    return connection
                time.sleep(RETURN_LOOK_S)
            raise

    def _open(self, timeout_s: float) -> Any:
        if timeout_s < CONNECT_LEFT_MIN_S:
            raise DatabaseUnavailable(f"{max(timeout_s, 0):.1f} s are too short to open a connection to Postgres.")
        return connect(self.url, application_name=self._application_name, timeout_s=timeout_s, reads_all=self.reads_all)

    def putconn(self, connection: Any, *, close: bool = False) -> None:
        """Take a connection back; one that is broken or inside a transaction is closed or rolled back."""
        try:
            if not connection.closed:
                status = connection.info.transaction_status
                if close or status == TRANSACTION_STATUS_UNKNOWN:
                    connection.close()
                elif status != TRANSACTION_STATUS_IDLE:
                    with deadline(connection, CALL_TIMEOUT_S):
                        connection.rollback()
        except CONNECTION_ERRORS:
            connection.close()
        finally:
            self._lent.discard(id(connection))
            if not connection.closed:
                self._idle.append(connection)
            with contextlib.suppress(ValueError):
                self._free.release()

    @contextmanager
    def connection(
        self, timeout_s: float = CALL_TIMEOUT_S, *, wait_s: float | None = None, step_s: float | None = None
    ) -> Iterator[Any]:
        """Lend a connection inside a transaction: commit at the end, roll back on an exception.

        timeout_s bounds the whole block; where less is given, wait_s bounds the wait for a connection, and step_s each
        of its steps, which begin with connection.deadline.begin_step().
        Raises: DatabaseUnavailable when the connection was lost.
        """
        until = time.monotonic() + timeout_s
        connection = self.getconn(timeout_s if wait_s is None else wait_s)
        try:
            with _losses(connection), deadline(connection, max(until - time.monotonic(), 0.05), step_s) as limit:
                connection.deadline = limit
                try:
                    yield connection
                except BaseException:
                    limit.begin_step()
                    # On a dead connection rollback() raises InterfaceError and would hide what happened.
                    with contextlib.suppress(psycopg2.Error):
                        connection.rollback()
                    raise
                limit.begin_step()
                connection.commit()
        finally:
            self.putconn(connection)

    @contextmanager
    def statement(self, timeout_s: float = CALL_TIMEOUT_S) -> Iterator[Any]:
        """Lend a cursor whose every statement is a transaction of its own, in one round trip.

        timeout_s bounds the whole block. Raises: DatabaseUnavailable when the connection was lost.
        """
        until = time.monotonic() + timeout_s
        connection = self._lend(timeout_s)
        try:
            if not connection.autocommit:
                connection.autocommit = True
            left_s = max(until - time.monotonic(), 0.05)
            with _losses(connection), deadline(connection, left_s), connection.cursor() as cursor:
                yield cursor
        finally:
            self.putconn(connection)

    @contextmanager
    def cursor(
        self, timeout_s: float = CALL_TIMEOUT_S, *, wait_s: float | None = None, step_s: float | None = None
    ) -> Iterator[Any]:
        """Lend a cursor inside a transaction; see connection()."""
        lent = self.connection(timeout_s, wait_s=wait_s, step_s=step_s)
        with lent as connection, connection.cursor() as cursor:
            yield cursor

    def read_everything(self) -> None:
        """Read from now on also what Python has no value for, as near as it comes: for lists, not for people's data."""
        self.reads_all = True
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


@contextmanager
def _losses(connection: Any) -> Iterator[None]:
    try:
        yield
    except CONNECTION_ERRORS as error:
        if isinstance(error, psycopg2.OperationalError) and not connection.closed:
            raise  # A statement's own trouble (a lock timeout, a full disk): the connection is fine.
        raise DatabaseUnavailable(str(error).strip() or "The connection to Postgres was lost.") from error


def _is_quiet(connection: Any) -> bool:
    """Tell whether an idle connection is still good, without a round trip.

    A server says nothing to an idle session of ours, so anything to read is its farewell: it has restarted, or was
    told to end the session.
    """
    if connection.closed:
        return False
    poller = select.poll()  # select() refuses descriptors from 1024 on.
    poller.register(connection, select.POLLIN)
    return not poller.poll(0)
