"""The sending half of a broker: one message in one round trip, or many in few, within a deadline."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import chain, islice
from typing import Any

import psycopg2
from dramatiq import Message

from callboard.broker.sending.copying import INSERT_BELOW, INSERT_MAX, PART_BYTES_MAX, store_rows
from callboard.broker.sending.doorbell import Doorbell
from callboard.broker.sending.row import DEDUPE_WAIT_S, RING, OutgoingRow, insert_row, insert_rows
from callboard.db import RECONNECT_ERRORS, Pool, schema
from callboard.db.rows.values import said
from callboard.errors import BrokerUnavailable, DatabaseUnavailable
from callboard.log import get_logger

log = get_logger(__name__)

#: Longest time a send may take, s.
SEND_TIMEOUT_S = 5.0
#: Longest time the whole of many messages may take, and each part of them that is sent, s.
SEND_MANY_TIMEOUT_S = 300.0
SEND_STEP_S = 8.0
#: Refusals of the database that pass: a deadlock, a full disk, one that only reads for a while, as after a failover.
PASSING_ERRORS = (psycopg2.OperationalError, psycopg2.errors.ReadOnlySqlTransaction)
#: Fails the transaction it is said in; no message stands in it, as Postgres logs what fails.
ABORT = "DO $$ BEGIN RAISE lock_not_available USING MESSAGE = 'messages were not stored'; END $$"
#: Below this a new connection cannot be opened in time, s.
RECONNECT_MIN_S = 2.0


class Sender:
    """Stores rows through a pool and rings the doorbell for them."""

    def __init__(self, pool: Pool, *, is_prepared: Callable[[], bool]) -> None:
        self._pool = pool
        self._ask_if_prepared = is_prepared
        self.doorbell = Doorbell(self._ring)

    @cached_property
    def _is_prepared(self) -> bool:
        """Whether statements may be prepared: not behind PgBouncer in transaction mode. Asked at the first message."""
        return self._ask_if_prepared()

    def store(self, row: OutgoingRow) -> str:
        """Store a row within SEND_TIMEOUT_S and return the id that holds its place.

        Raises: BrokerUnavailable, InvalidMessage, SchemaOutdated; DatabaseMisconfigured at once.
        """
        until = time.monotonic() + SEND_TIMEOUT_S
        failure: Exception | None = None
        while True:
            is_due = self.doorbell.is_due()
            try:
                stored_id = self._store_once(row, until - time.monotonic(), ring=is_due)
            except (DatabaseUnavailable, *PASSING_ERRORS) as error:
                if isinstance(error, BrokerUnavailable) and row.dedupe_key is not None:
                    raise  # The database has answered: it is the dedupe key that does not come free.
                # The first try may have been stored although its answer was lost.
                row = row._replace(is_repeat=True)
                if until - time.monotonic() < RECONNECT_MIN_S:
                    if isinstance(error, BrokerUnavailable):
                        raise error from failure
                    raise BrokerUnavailable(
                        f"Message {row.message_id} for queue {row.queue_name!r} was not stored: "
                        f"{_why(error)}. Send it again; it will not run twice for that."
                    ) from error
                failure = failure or error
                time.sleep(0.1)
            else:
                if not is_due:
                    # Only now: a ring that comes before the commit finds nothing.
                    self.doorbell.ring_later()
                return stored_id

    def _store_once(self, row: OutgoingRow, timeout_s: float, *, ring: bool) -> str:
        with schema.expected(), self._pool.statement(timeout_s) as cursor:
            return insert_row(cursor, row, ring=ring, is_prepared=self._is_prepared, sets_wait=True)

    def store_many(self, rows: Iterable[OutgoingRow]) -> dict[str, str]:
        """Store rows in one transaction, all or none; return the holder's id of each whose place was taken.

        Few of them have SEND_TIMEOUT_S, as one has. More have SEND_MANY_TIMEOUT_S, but only as long as they get on.
        Raises: DatabaseUnavailable, BrokerUnavailable, InvalidMessage, SchemaOutdated; what making a row raises may
        come out as one of them, too.
        """
        rows = iter(rows)
        first = list(islice(rows, INSERT_BELOW))
        if not first:
            return {}
        if len(first) < INSERT_BELOW and sum(len(row.message) for row in first) < PART_BYTES_MAX:
            return self._store_few(first)
        try:
            lent = self._pool.cursor(SEND_MANY_TIMEOUT_S, wait_s=SEND_TIMEOUT_S, step_s=SEND_STEP_S)
            with self._transaction(lent) as cursor:
                return store_rows(cursor, chain(first, rows))
        except PASSING_ERRORS as error:
            raise _not_stored(error) from error

    def _store_few(self, rows: list[OutgoingRow]) -> dict[str, str]:
        """Store rows as store() does one: a connection that breaks is tried again while there is time."""
        until = time.monotonic() + SEND_TIMEOUT_S
        failure: Exception | None = None
        while True:
            try:
                with self._transaction(self._pool.cursor(until - time.monotonic())) as cursor:
                    return insert_rows(cursor, rows, ring=False)
            except (DatabaseUnavailable, *PASSING_ERRORS) as error:
                if isinstance(error, BrokerUnavailable) and any(row.dedupe_key is not None for row in rows):
                    raise  # The database has answered: it is the dedupe key that does not come free.
                # The first try may have been stored although its answer was lost.
                rows = [row._replace(is_repeat=True) for row in rows]
                if until - time.monotonic() < RECONNECT_MIN_S:
                    if isinstance(error, BrokerUnavailable):
                        raise error from failure
                    if isinstance(error, DatabaseUnavailable):
                        raise
                    raise _not_stored(error) from error
                failure = failure or error
                time.sleep(0.1)

    @contextmanager
    def _transaction(self, lent: Any) -> Iterator[Any]:
        """Open the transaction of many messages, and ring with it."""
        with schema.expected(), lent as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{DEDUPE_WAIT_S}s",))
            yield cursor
            cursor.execute(RING)

    def _ring(self) -> None:
        try:
            with self._pool.statement(RECONNECT_MIN_S) as cursor:
                cursor.execute("SELECT pg_notify('callboard', '')")
        except (*RECONNECT_ERRORS, psycopg2.Error) as error:
            log.debug("doorbell was not rung; the safety poll finds the message", error=str(error))


def _not_stored(error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"The messages were not stored: {_why(error)}. Send them again; none will run twice for that."
    )


def store_in(connection: Any, rows: Iterable[OutgoingRow]) -> dict[str, str]:
    """Store rows in the caller's transaction; return the holder's id of each whose place was taken.

    Raises: InvalidMessage, BrokerUnavailable; the transaction is over then, as after any error in it.
    """
    rows, holders = iter(rows), {}
    cursor = cursor_of(connection)
    try:
        while chunk := list(islice(rows, INSERT_MAX)):
            with schema.expected(), _dedupe_wait(cursor, chunk):
                # One NOTIFY a transaction: Postgres folds equal ones, and sends them at commit.
                holders.update(insert_rows(cursor, chunk))
    except BrokerUnavailable:
        # All or none: what was stored before cannot be committed without the rest. Drivers differ in what they raise.
        with contextlib.suppress(Exception):
            cursor.execute(ABORT)
        raise
    finally:
        cursor.close()
    return holders


def cursor_of(connection: Any) -> Any:
    """Return a DB-API cursor of a psycopg2, psycopg 3, Django or SQLAlchemy connection or session."""
    if hasattr(connection, "get_bind") and hasattr(connection, "connection"):
        connection = connection.connection()  # A SQLAlchemy session.
    if hasattr(connection, "exec_driver_sql"):
        connection = connection.connection  # A SQLAlchemy connection: the driver's own lies below.
    return connection.cursor()


class Batch:
    """Messages as they are taken from their caller, kept: a generator can be read once only."""

    def __init__(self, messages: Iterable[Message[Any]]) -> None:
        self.taken: list[Message[Any]] = []
        self._messages = iter(messages)
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[Message[Any]]:
        try:
            for message in self._messages:
                self.taken.append(message)
                yield message
        except Exception as failure:
            self._failure = failure
            raise

    def take_all(self) -> list[Message[Any]]:
        """Return all messages, also those that were not looked at yet."""
        self.taken.extend(self._messages)
        return self.taken

    def raise_failure(self) -> None:
        """Raise what making a message raised, as it is: the database's part takes some of it for its own trouble."""
        if self._failure is not None:
            raise self._failure from self._failure.__cause__


def with_messages(error: DatabaseUnavailable, carried: Any, messages: Iterable[Message[Any]]) -> BrokerUnavailable:
    """Return the error with its messages, which from now on look into the history too when they are sent again."""
    for message in messages:
        object.__setattr__(message, "may_be_stored", True)
    return BrokerUnavailable(str(error), carried)


def as_stored(message: Message[Any], stored_id: str) -> Message[Any]:
    """Return the message, or a copy with the id of the one that holds its place."""
    if stored_id == message.message_id:
        return message
    return message.copy(message_id=stored_id)


@contextmanager
def _dedupe_wait(cursor: Any, rows: list[OutgoingRow]) -> Iterator[None]:
    """Wait DEDUPE_WAIT_S at most for a transaction that holds a dedupe key; the caller's own limit comes back after."""
    if all(row.dedupe_key is None for row in rows):
        yield
        return
    cursor.execute("SELECT current_setting('lock_timeout')")
    [before] = cursor.fetchone()
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{DEDUPE_WAIT_S}s",))
    yield
    # Not after an error: the transaction has failed then, and its end undoes the setting.
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (before,))


def _why(error: Exception) -> str:
    """Say why nothing is stored; what Postgres calls a SELECT is a call of our function."""
    if isinstance(error, psycopg2.errors.ReadOnlySqlTransaction):
        return "the database takes no writes: it is a replica, or default_transaction_read_only is on"
    return said(error).rstrip(".")
