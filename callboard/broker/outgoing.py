"""Storing messages: how one becomes a row, and who rings the doorbell."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg2
from dramatiq import Message

from callboard.db import sql
from callboard.errors import InvalidMessage

#: Largest message that is stored, bytes of JSON.
MESSAGE_BYTES_MAX = 256 * 1024
#: How often the holder of a dedupe key is looked for while it changes hands.
DEDUPE_LOOKS = 5
#: Rings of one process are at least this far apart, s.
RING_INTERVAL_S = 0.05


class OutgoingRow(NamedTuple):
    """The parameters of sql/queue/enqueue.sql that come from the message."""

    message_id: str
    queue_name: str
    message: str
    priority: int
    delay_ms: int
    dedupe_key: str | None

    @classmethod
    def of(cls, message: Message[Any], *, delay_ms: int | None, default_priority: int) -> OutgoingRow:
        """Encode a message.

        Raises: InvalidMessage when its arguments are no JSON, hold a NUL or a lone surrogate, or are too large.
        """
        name = f"Message {message.message_id} for actor {message.actor_name!r}"
        try:
            text = message.encode().decode("utf-8")
        except (TypeError, ValueError, UnicodeError) as error:
            raise InvalidMessage(f"{name} is no JSON: {error}. Pass numbers, strings, lists and dicts.") from error
        if len(text) > MESSAGE_BYTES_MAX:
            raise InvalidMessage(
                f"{name} has {len(text)} bytes, the limit is {MESSAGE_BYTES_MAX}. Store the data and send its id."
            )
        options = message.options
        priority, dedupe_key = options.get("priority", default_priority), options.get("dedupe_key")
        if not isinstance(priority, int) or not -(2**31) <= priority < 2**31:
            raise InvalidMessage(f"{name} has priority {priority!r}. Give a whole number; lower runs first.")
        if dedupe_key is not None and (not isinstance(dedupe_key, str) or not 0 < len(dedupe_key) <= 255):  # noqa: PLR2004 - as the error says
            raise InvalidMessage(f"{name} has dedupe_key {dedupe_key!r}. Give a string of 1 to 255 characters.")
        return cls(message.message_id, message.queue_name, text, priority, int(delay_ms or 0), dedupe_key)


def insert_row(cursor: Any, row: OutgoingRow, *, ring: bool = True, is_repeat: bool = False) -> str | None:
    """Store a row and return the id that holds its place: its own, or the first one of its dedupe key.

    None: the id was there before, or (is_repeat) has ended meanwhile. Raises: InvalidMessage.
    """
    parameters = {**row._asdict(), "ring": ring, "is_repeat": is_repeat}
    stored: str | None = None
    # A statement that waited for another sender of the same key does not see what that one stored; the next one does.
    for _ in range(1 if row.dedupe_key is None else DEDUPE_LOOKS):
        try:
            cursor.execute(sql("queue/enqueue"), parameters)
        except (psycopg2.DataError, psycopg2.errors.ProgramLimitExceeded) as error:
            raise InvalidMessage(
                f"Message {row.message_id} for queue {row.queue_name!r} cannot be stored: {str(error).strip()}"
            ) from error
        stored = cursor.fetchone()[0]
        if stored is not None:
            break
    return stored


class Doorbell:
    """Ring at once when the last ring is a while ago, else once at the end of the interval.

    ring_now sends one NOTIFY in a transaction of its own. What a process that dies in between would
    have rung for, the workers' safety poll finds.
    """

    def __init__(self, ring_now: Callable[[], None]) -> None:
        self._ring_now = ring_now
        self._lock = threading.Lock()
        self._rang_at = float("-inf")
        self._later: threading.Timer | None = None

    def is_due(self) -> bool:
        """Tell whether the caller should ring with its own statement; if not, it calls ring_later() after it."""
        with self._lock:
            is_due = self._rang_at + RING_INTERVAL_S <= time.monotonic()
            if is_due:
                self._rang_at = time.monotonic()
            return is_due

    def ring_later(self) -> None:
        """Ring at the end of the interval for what is committed by now."""
        with self._lock:
            # A timer that was started before a fork does not run in the child.
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
