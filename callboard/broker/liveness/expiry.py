"""Deleting what has expired: results and counters, on the leader's clock, a bounded batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg2

from callboard.log import get_logger

log = get_logger(__name__)

#: Pause after everything expired was deleted, s; while a batch comes out full, the next one follows at the next call.
PURGE_INTERVAL_S = 60.0
#: Rows of one batch: few, because the leader's heartbeat waits for it.
PURGE_MAX = 1_000
STATEMENTS = ("results/purge", "rate_limits/purge")
#: Sent with each statement: the heartbeat on the same connection must not wait for a locked table or a slow disk.
LIMITS = "SET LOCAL lock_timeout = '250ms'; SET LOCAL statement_timeout = '2s';"


class Expiry:
    """Called by the leader at each tick; execute(name, parameters, before) runs a statement and returns its rows."""

    def __init__(self, execute: Callable[[str, dict[str, Any], str], list[Any]]) -> None:
        self._execute = execute
        self._due_clock = float("-inf")

    def purge_when_due(self) -> None:
        """Delete one batch of each kind if it is time to."""
        if time.monotonic() < self._due_clock:
            return
        counts = [self._purge(name) for name in STATEMENTS]
        if max(counts) < PURGE_MAX:
            self._due_clock = time.monotonic() + PURGE_INTERVAL_S

    def _purge(self, name: str) -> int:
        try:
            return int(self._execute(name, {"limit": PURGE_MAX}, LIMITS)[0][0])
        except psycopg2.Error as error:
            if not error.pgcode:
                raise  # The connection is lost, which is the caller's matter.
            log.warning("expired rows were not deleted; tried again later", statement=name, error=str(error).strip())
            return 0
