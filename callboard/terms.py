"""What workers and operators must agree on: how an attempt ends, why a message dies, when a worker counts as gone."""

from __future__ import annotations

from enum import StrEnum

#: A worker whose heartbeat is older counts as frozen or cut off, s.
BEAT_OVERDUE_S = 20
#: A duty whose worker has not beaten for so long is free for others: the lead, and running suspects alone, s.
DUTY_OVERDUE_S = 10


class Outcome(StrEnum):
    """How an attempt ended; the label values of callboard_messages_total."""

    DONE = "done"
    RETRY = "retry"
    DEAD = "dead"
    POSTPONED = "postponed"
    RELEASED = "released"
    # An operator cancelled it while it ran.
    DISCARDED = "discarded"
    # Not a verdict of ours: the lease had passed to another worker.
    LOST = "lost"


class DeadReason(StrEnum):
    """Why a message became a dead letter."""

    MAX_RETRIES = "max_retries"
    PERMANENT = "permanent"
    EXPIRED = "expired"
    LOST_WORKER = "lost_worker"
    UNKNOWN_ACTOR = "unknown_actor"
    INVALID = "invalid"
