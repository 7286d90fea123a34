"""The inbox of webhooks: one row an announcement, however often it comes; nothing in it is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from callboard.db import sql
from callboard.payments.settlement import Outcome

#: Events about payments start so; of the others we only keep that they came.
SUPPORTED_PREFIX = "payment."


#: A payment should have been announced by then: an hour to pay, after which it is cancelled, and one for the way, s.
ANNOUNCED_WITHIN_S = 7_200
#: Without any webhook for so long, while payments wait for one, none gets through, s.
SILENCE_MAX_S = 10_800


@dataclass(frozen=True)
class Silence:
    """How many payments wait for an announcement that is overdue, and the time since the last one was accepted."""

    overdue: int = 0
    #: Infinite where none ever came.
    seconds: float = 0.0

    @property
    def is_odd(self) -> bool:
        """Whether webhooks seem to get lost on their way."""
        return self.overdue > 0 and self.seconds > SILENCE_MAX_S


def webhook_silence(cursor: Any) -> Silence:
    """Return whether webhooks come as they should."""
    cursor.execute(sql("payments/webhook_silence"), {"due_s": ANNOUNCED_WITHIN_S})
    overdue, silent_s = cursor.fetchone()
    return Silence(overdue, float("inf") if silent_s is None else silent_s)


@dataclass(frozen=True)
class Announcement:
    """One row of callboard.payment_events."""

    event_id: int
    provider_object_id: str
    event: str
    times_received: int
    #: False when processing it could change nothing any more.
    needs_processing: bool

    @property
    def is_supported(self) -> bool:
        """Whether it speaks of a payment, the only thing we know how to check."""
        return self.event.startswith(SUPPORTED_PREFIX)


def record_announcement(cursor: Any, *, provider_object_id: str, event: str, received_from: str | None) -> Announcement:
    """Store that a webhook came, or came again."""
    cursor.execute(
        sql("payments/record_announcement"),
        {"provider_object_id": provider_object_id, "event": event, "received_from": received_from},
    )
    return Announcement(*cursor.fetchone())


def find_announcement(cursor: Any, event_id: int, *, is_locked: bool = False) -> Announcement | None:
    """Return an announcement; is_locked makes webhooks that repeat it wait until the transaction ends."""
    name = "payments/lock_announcement" if is_locked else "payments/find_announcement"
    cursor.execute(sql(name), {"event_id": event_id})
    row = cursor.fetchone()
    return Announcement(*row) if row else None


def close_announcement(cursor: Any, event_id: int, outcome: Outcome) -> None:
    """Note what processing an announcement did."""
    cursor.execute(sql("payments/close_announcement"), {"event_id": event_id, "outcome": outcome})
