"""What is written in a verdict's transaction beside the verdict: next messages, results, arrivals at a barrier.

Dramatiq's middleware sends and stores in hooks that run before the verdict. Written at once, all of it would be
there twice when the worker dies in between and the message runs again, and would stay when the lease was lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dramatiq import Message

from callboard.broker.sending.row import OutgoingRow
from callboard.log import get_logger

log = get_logger(__name__)


class ResultRow(NamedTuple):
    """A result or an exception, encoded."""

    key: str
    message_id: str
    value: bytes
    ttl_ms: float


@dataclass(slots=True)
class Arrival:
    """A message that counts at its group's barrier, once it is done."""

    key: str
    ttl_ms: float
    #: Sent with the arrival that completes the group.
    callbacks: list[tuple[OutgoingRow, Message[Any], int | None]] = field(default_factory=list)
    #: Set when it is written.
    completes_group: bool = False

    @property
    def event_key(self) -> str:
        """Name of the event that Dramatiq's Barrier tells waiting parties by."""
        return f"{self.key}@events"
