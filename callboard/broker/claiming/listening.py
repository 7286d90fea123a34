"""Whether the doorbell is heard: now and then the process rings a bell of its own and listens for it.

A claim on the same connection shows that it lives, not that it hears. A pooler that shares sessions (PgBouncer in
transaction mode) takes LISTEN and delivers nothing; a proxy may lose its listening session and make a new one without
a word. So liveness rings, from its own connection, a channel that only this process's intake listens to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from callboard.log import get_logger

log = get_logger(__name__)

#: Silence after which the process rings for itself, s.
SILENCE_S = 30.0
#: Time a ring takes at the most; a connection that has not heard it by then is deaf, s.
HEARING_TIMEOUT_S = 2.0


class Listening:
    """The state of one intake's LISTEN connection. on_deaf wakes the intake, which then asks is_deaf()."""

    def __init__(self, worker_id: str, on_deaf: Callable[[], None]) -> None:
        self.channel = f"callboard_{worker_id}"
        self._on_deaf = on_deaf
        self._lock = threading.Lock()
        self._is_listening = False
        self._is_ringing = False
        self._rung_clock: float | None = None
        self._test_clock = 0.0
        #: Connections in a row that heard nothing.
        self._deaf = 0

    # Called by the intake

    def begin(self) -> None:
        """Begin with a new connection; it is tested soon, unless the ones before it were deaf too."""
        with self._lock:
            self._is_listening, self._is_ringing, self._rung_clock = True, False, None
            self._test_clock = time.monotonic() + (0.0 if self._deaf <= 1 else SILENCE_S)

    def end(self) -> None:
        """Note that nobody listens for now."""
        with self._lock:
            self._is_listening, self._is_ringing, self._rung_clock = False, False, None

    def note_ring(self) -> None:
        """Note that the connection heard something."""
        with self._lock:
            self._is_ringing, self._rung_clock = False, None
            self._test_clock = time.monotonic() + SILENCE_S
            was_deaf, self._deaf = self._deaf, 0
        if was_deaf:
            log.info("doorbell is heard again")

    def is_deaf(self) -> bool:
        """Return whether a ring was not heard in time; the connection should be made anew then."""
        with self._lock:
            is_deaf = self._is_overdue()
            if is_deaf:
                self._rung_clock = None
                self._deaf += 1
        if is_deaf and self._deaf == 1:
            log.warning("doorbell was not heard; its connection is made anew")
        elif is_deaf and self._deaf == 2:  # noqa: PLR2004 - a new connection has not helped; said once
            log.warning(
                "doorbell is not heard on a new connection either; messages start at the next safety poll only. "
                "Behind a pooler that shares sessions, such as PgBouncer in transaction mode, set QUEUE_LISTEN=off; "
                "or connect to Postgres directly"
            )
        return is_deaf

    # Called by liveness

    def channel_to_ring(self) -> str | None:
        """Return the channel to ring with the next heartbeat, if it is time to; rung() must follow."""
        with self._lock:
            is_due = self._is_listening and self._rung_clock is None and time.monotonic() >= self._test_clock
            self._is_ringing = is_due
            is_overdue = self._is_overdue()
        if is_overdue:
            self._on_deaf()
        return self.channel if is_due else None

    def rung(self) -> None:
        """Note that the ring is committed; it may have been heard already."""
        with self._lock:
            if self._is_ringing:
                self._is_ringing, self._rung_clock = False, time.monotonic()

    def _is_overdue(self) -> bool:
        return self._rung_clock is not None and time.monotonic() - self._rung_clock > HEARING_TIMEOUT_S
