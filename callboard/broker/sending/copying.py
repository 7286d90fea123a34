"""Storing many messages by COPY, for two thirds of what INSERT costs the database.

The rows stream: while the server stores some, the caller's thread makes the next ones. A second thread would be slower
than none, because the two of them wait for the interpreter at each call to the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any

import psycopg2

from callboard.broker.sending.row import OutgoingRow, insert_rows, refusals
from callboard.db.connections.deadline import Deadline
from callboard.errors import InvalidMessage

#: Rows of one INSERT; fewer than this in all are not worth the round trips of a COPY.
INSERT_MAX = 1_000
INSERT_BELOW = 50
#: Bytes of messages that are sent before the server is to answer. A network that takes in everything and is slow must
#: deliver them within one step.
PART_BYTES_MAX = 1024 * 1024
#: Rows of one COPY; they are kept until it is over.
COPY_MAX = 10_000
#: Sent to the server at once, bytes; psycopg2 would take 8 KB.
READ_BYTES = 64 * 1024

COPY = "COPY dramatiq.queue (message_id, queue_name, message, priority, available_at) FROM STDIN"
#: What a line of COPY's text format cannot hold as it is, the backslash first.
_ESCAPES = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))


def store_rows(cursor: Any, rows: Iterator[OutgoingRow]) -> dict[str, str]:
    """Store rows in an open transaction of our pool; return the holder's id of each whose place was taken.

    COPY knows no conflict. So rows with a dedupe key, those that may be there already, and ids that turn out to be,
    are left to insert_rows(); and all of them where COPY is refused. Making rows takes no time off the transaction's
    steps, of which each part that is sent is one. Does not ring. Raises: InvalidMessage, BrokerUnavailable.
    """
    holders: dict[str, str] = {}
    may_copy = True
    limit = cursor.connection.deadline
    while True:
        with limit.paused():
            row = next(rows, None)
        if row is None:
            return holders
        if not (may_copy and _may_be_copied(row)):
            with limit.paused():
                chunk = take_chunk(chain([row], rows))
            holders |= insert_rows(cursor, chunk, ring=False)
            continue
        cursor.execute("SAVEPOINT callboard_copy; SELECT clock_timestamp()")
        lines = _Lines(row, rows, cursor.fetchone()[0], limit)
        refusal = _copy(cursor, lines)
        if refusal is not None:
            may_copy = isinstance(refusal, psycopg2.errors.UniqueViolation)
            # A COPY that is refused as such has read nothing.
            copied = iter(lines.rows or [row])
            while chunk := take_chunk(copied):
                limit.begin_step()
                holders |= insert_rows(cursor, chunk, ring=False)
        if lines.left:
            rows = chain(lines.left, rows)


def take_chunk(rows: Iterator[OutgoingRow]) -> list[OutgoingRow]:
    """Take the rows of the next INSERT."""
    chunk: list[OutgoingRow] = []
    size_bytes = 0
    for row in rows:
        chunk.append(row)
        size_bytes += len(row.message)
        if len(chunk) >= INSERT_MAX or size_bytes >= PART_BYTES_MAX:
            break
    return chunk


def _copy(cursor: Any, lines: _Lines) -> psycopg2.Error | None:
    """Store lines by COPY, or none of them, and return why that must be done by INSERT.

    Because one of their ids is there already, or because there is no COPY into a table with row-level security for a
    role which that holds for.
    """
    try:
        with refusals("One of the messages", None):
            cursor.copy_expert(COPY, lines, READ_BYTES)
    except (psycopg2.Error, InvalidMessage) as error:
        if lines.failure is not None:
            # Whatever the server said of the rows before: those that come after can never be made.
            raise lines.failure from lines.failure.__cause__
        if not isinstance(error, psycopg2.errors.UniqueViolation | psycopg2.errors.FeatureNotSupported):
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT callboard_copy")
        return error
    return None


def _may_be_copied(row: OutgoingRow) -> bool:
    return row.dedupe_key is None and not row.is_repeat


class _Lines:
    """A file of COPY's text format that makes its lines as they are read."""

    def __init__(self, first: OutgoingRow, rest: Iterator[OutgoingRow], now: datetime, limit: Deadline) -> None:
        #: What was read, for another try, and the row that ended it because it may not be copied.
        self.rows: list[OutgoingRow] = []
        self.left: list[OutgoingRow] = []
        #: What making a row raised; the driver tells only its text.
        self.failure: BaseException | None = None
        self._source = islice(chain([first], rest), COPY_MAX)
        self._limit = limit
        self._size_bytes = 0
        self._delay_ms = first.delay_ms
        self._moments = moments(now + timedelta(milliseconds=first.delay_ms))

    def read(self, size: int) -> str:
        """Return the next lines, about size characters; an empty text at the end.

        That it is asked for them means that those before are on their way.
        """
        with self._limit.paused():
            return self._next_lines(size)

    def _next_lines(self, size: int) -> str:
        if self._size_bytes >= PART_BYTES_MAX:
            return ""
        lines: list[str] = []
        length = 0
        try:
            for row in self._source:
                if not _may_be_copied(row) or row.delay_ms != self._delay_ms:
                    self.left.append(row)
                    self._source = islice(self._source, 0)
                    break
                self.rows.append(row)
                line = (
                    f"{_escaped(row.message_id)}\t{_escaped(row.queue_name)}\t{_escaped(row.message)}\t"
                    f"{row.priority}\t{next(self._moments)}\n"
                )
                lines.append(line)
                length += len(line)
                if length >= size:
                    break
        except BaseException as failure:
            self.failure = failure
            raise
        self._size_bytes += length
        return "".join(lines)


def moments(first_at: datetime) -> Iterator[str]:
    """Return moments a microsecond apart, as Postgres reads them.

    Not one for all: the bound of a claim could not pass those of them that are gone.
    """
    first_at = first_at.astimezone(UTC).replace(tzinfo=None)
    second = first_at.isoformat(sep=" ", timespec="seconds")
    for micro in range(first_at.microsecond, 1_000_000):
        yield f"{second}.{micro:06d}+00"
    yield from moments(first_at.replace(microsecond=0, tzinfo=UTC) + timedelta(seconds=1))


def _escaped(text: str) -> str:
    if "\\" not in text and text.isprintable():
        return text
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    return text
