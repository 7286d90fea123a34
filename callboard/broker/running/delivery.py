"""A claimed message on its way through a worker."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from typing import Any

from dramatiq import Message

from callboard.broker.claiming.claim import Claim
from callboard.broker.ending.verdict import AttemptError, Decision, Verdict
from callboard.broker.running.attempt import Attempt
from callboard.broker.running.decoding import decoded
from callboard.broker.running.interruption import Interruption
from callboard.db.rows.row_limits import COUNT_MAX
from callboard.terms import DeadReason, Outcome

#: Wait before a failed message that no middleware decided about runs again, s.
UNDECIDED_WAIT_S = 10.0
#: What was claimed longer ago does not start any more, s: its queue may be paused by now, and a pause holds within 2 s.
#: The intake hands back what has waited for a second, but may itself wait for the database at that moment.
START_WITHIN_S = 1.5
#: What becomes of a message that no middleware decided about and whose actor returned.
DONE = Decision(Outcome.DONE)
#: Stands for a result that is not known yet; None is one.
UNSET: Any = object()


class Delivery(Attempt):
    """One lease of a message: Dramatiq's proxy plus what the claim knows and what the attempt decides."""

    # Most messages never change these: on the class they cost nothing.
    _started_clock: float | None = None
    #: What the actor says it will return, while completion() runs.
    early_result: Any = UNSET
    #: An operator asked it to stop: unless its actor returns, it ends as discarded.
    is_cancelled = False
    #: Why it is given up with its process, which nothing but its end can free of it; None: it is not.
    stuck_note: str | None = None

    def __init__(self, message: Message[Any], claim: Claim) -> None:
        super().__init__(message)
        # Copies: Dramatiq's proxy looks each of them up anew, and middleware asks for them a dozen times a message.
        self.message_id = claim.message_id
        self.queue_name = claim.queue_name
        self.actor_name = message.actor_name
        self.args, self.kwargs, self.options = message.args, message.kwargs, message.options
        self.claim = claim
        self.order = claim.order
        self.claimed_clock = time.monotonic()
        self.followups, self.results = [], []
        #: How other threads stop its actor.
        self.interruption = Interruption()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, claim: Claim) -> Delivery:
        """Make a delivery of what was claimed. Raises: DecodeError, TypeError when the row holds no message."""
        message = decoded(claim.message, claim.message_id, claim.queue_name)
        # Classes, which no JSON holds: whatever stands there ends Dramatiq's thread once the actor fails.
        message.options.pop("throws", None)
        return cls(message, claim)

    @property
    def lease_id(self) -> int:
        return self.claim.lease_id

    @property
    def attempt(self) -> int:
        """Number of this run, from 1; unlike retries it also counts lost workers and postponements."""
        return self.claim.attempt

    @property
    def retries(self) -> int:
        return self.claim.retries

    @property
    def generation(self) -> int:
        """How often an operator brought the message back from the dead letters."""
        return self.claim.generation

    @property
    def slot_at(self) -> datetime | None:
        """The slot of the schedule that sent it; None for any other message, and for one that was run by hand."""
        slot = self.options.get("slot_at")
        return datetime.fromisoformat(slot) if isinstance(slot, str) else None

    @property
    def wait_s(self) -> float:
        """How long the message could have run before it was claimed."""
        return max((self.claim.claimed_at - self.claim.available_at).total_seconds(), 0.0)

    @property
    def started_at(self) -> datetime:
        """When the attempt began, by the database's clock."""
        begun = self._started_clock or self.claimed_clock
        return self.claim.claimed_at + timedelta(seconds=begun - self.claimed_clock)

    @property
    def run_s(self) -> float | None:
        """How long it has run so far; None before a thread takes it up."""
        return None if self._started_clock is None else time.monotonic() - self._started_clock

    @property
    def is_waiting(self) -> bool:
        """Whether it is claimed but no thread has taken it up."""
        return self._started_clock is None and not self.is_ended

    def start(self) -> bool:
        """Take the message up; False if it was handed back before, or was claimed so long ago that it is to be."""
        now = time.monotonic()
        with self._lock:
            if self.is_ended or now - self.claimed_clock > START_WITHIN_S:
                return False
            self._started_clock = now
            return True

    def release(self) -> Verdict | None:
        """End the delivery unless a thread has taken it up; return the verdict that hands it back, if it ended here."""
        with self._lock:
            if self.is_ended or self._started_clock is not None:
                return None
            self.is_ended = True
        self.decision = Decision(Outcome.RELEASED)
        return self.verdict()

    def end(self) -> Verdict | None:
        """End the delivery and return its verdict, or None where its end is written already."""
        verdict = None if self.is_ended else self.verdict()
        self.is_ended = True
        return verdict

    @property
    def has_failed(self) -> bool:
        """Whether its end is decided by a failure already."""
        return self.failed or self._exception is not None

    def end_as_invalid(self, error: Exception) -> None:
        """End as a dead letter because what is to follow it cannot be sent.

        Dramatiq swallows what hooks raise; without this the next stage would be lost in silence.
        """
        self.fail()
        self.stuff_exception(error)
        self.decision = Decision(Outcome.DEAD, reason=DeadReason.INVALID)

    def verdict(self) -> Verdict:
        """Snapshot the attempt's fate; Dramatiq clears the exception right after the ack."""
        error = self._exception
        decision = self._cancelled(error) or self.decision or self._undecided(error)
        fate = Verdict(
            self.message_id,
            self.queue_name,
            self.actor_name,
            self.claim.lease_id,
            decision.outcome,
            self.started_at,
            self.wait_s,
            self.run_s,
        )
        if decision is DONE and not (self.followups or self.results or self.arrival):
            return fate
        return fate._replace(
            wait_s=decision.wait_s,
            reason=decision.reason,
            retries=decision.retries,
            # Other fates leave the options as they were; the stored message serves them.
            message=_encoded(self._message)
            if decision.outcome is Outcome.RETRY or decision.is_message_changed
            else None,
            error=None if error is None else AttemptError.of(error),
            # Where the next stage can never be stored, nothing else that hooks sent for a success is true either.
            followups=() if decision.reason == DeadReason.INVALID else tuple(self.followups),
            results=tuple(self.results),
            arrival=self.arrival if decision.outcome is Outcome.DONE else None,
        )

    def release_verdict(self) -> Verdict:
        """Return the verdict that takes the message away from this process, whatever its thread does."""
        return Verdict(
            message_id=self.claim.message_id,
            queue_name=self.claim.queue_name,
            actor_name=str(self.actor_name),
            lease_id=self.lease_id,
            outcome=Outcome.RELEASED,
            started_at=self.started_at,
        )

    def _cancelled(self, error: BaseException | None) -> Decision | None:
        """Decide for a message that an operator cancelled: whatever it failed with, it does not come back."""
        return Decision(Outcome.DISCARDED) if self.is_cancelled and (error is not None or self.failed) else None

    def _undecided(self, error: BaseException | None) -> Decision:
        """Decide for a message no middleware decided about: a failure never counts as done."""
        if self.failed:
            return Decision(Outcome.DEAD, reason=DeadReason.PERMANENT)
        if error is None:
            return DONE
        return Decision(Outcome.RETRY, wait_s=UNDECIDED_WAIT_S, retries=min(self.retries, COUNT_MAX - 1) + 1)

    def __lt__(self, other: Any) -> bool:
        return isinstance(other, Delivery) and self.order < other.order

    __hash__ = object.__hash__


def verdict_of_no_message(claim: Claim, error: Exception) -> Verdict:
    """Return the verdict of a row that holds no message: a dead letter, for a person to see."""
    return Verdict(
        message_id=claim.message_id,
        queue_name=claim.queue_name,
        actor_name="unknown",
        lease_id=claim.lease_id,
        outcome=Outcome.DEAD,
        started_at=claim.claimed_at,
        reason=DeadReason.INVALID,
        error=AttemptError.of(getattr(error, "error", error)),
    )


def _encoded(message: Message[Any]) -> str | None:
    """Return the message as JSON, or None where middleware put something into its options that is none."""
    try:
        return message.encode().decode()
    except (TypeError, ValueError):
        return None
