"""A row as it was claimed."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Claim(NamedTuple):
    """A row as sql/claiming/claim.sql returns it."""

    message_id: str
    queue_name: str
    #: None where the row holds more than one may.
    message: str | None
    priority: int
    available_at: datetime
    seq: int
    lease_id: int
    attempt: int
    retries: int
    lost_workers: int
    generation: int
    enqueued_at: datetime
    claimed_at: datetime

    @property
    def order(self) -> tuple[int, datetime, int]:
        """The place among the messages of a process: priority, then age."""
        return (self.priority, self.available_at, self.seq)
