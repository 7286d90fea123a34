"""What becomes of a message after an attempt: six fates, one frozen value, written later in a batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from callboard.broker.failures.causes import TRACEBACK_MAX, Cause, cause_of, cause_of_reason, marked_traceback
from callboard.broker.failures.texts import text_of
from callboard.terms import DeadReason, Outcome

if TYPE_CHECKING:
    from callboard.broker.ending.effects import Arrival, ResultRow
    from callboard.broker.sending.row import OutgoingRow

#: Longest error text kept with an attempt, characters.
ERROR_MESSAGE_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Decision:
    """What middleware decided about a failed attempt; the broker turns it into a Verdict when the message is acked."""

    outcome: Outcome
    wait_s: float = 0.0
    reason: str | None = None
    #: Retries of the message from now on; None leaves the count as it is.
    retries: int | None = None
    #: The message's options were changed, which is stored with a retry anyway.
    is_message_changed: bool = False


#: The cause is the reason and the actor: nothing of the actor has failed.
REASONS_WITHOUT_RUN = frozenset({DeadReason.EXPIRED, DeadReason.UNKNOWN_ACTOR, DeadReason.INVALID})


@dataclass(frozen=True, slots=True)
class AttemptError:
    """The failure of an attempt as it is kept for people."""

    error_class: str
    message: str
    traceback: str
    #: What all failures of this cause share.
    fingerprint: str
    #: The innermost frame of ours, such as "callboard/mail/smtp/transport.py in send".
    place: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> AttemptError:
        """Describe an exception, whatever it does; NUL, which Postgres cannot store in text, is shown as its escape."""
        name = type.__dict__["__name__"].__get__(type(error))
        try:
            cause, lines = cause_of(error), marked_traceback(error)
        except Exception as failure:  # noqa: BLE001 - a failure is kept, also one that cannot be described
            cause = cause_of_reason("undescribed", name)
            lines = f"<the traceback of this {name} could not be written: {type(failure).__name__}>"
        return cls(
            name,
            _storable(text_of(error, ERROR_MESSAGE_MAX))[:ERROR_MESSAGE_MAX],
            _storable(lines)[-TRACEBACK_MAX:],
            cause.fingerprint,
            cause.place and _storable(cause.place),
        )


def _storable(text: str) -> str:
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


class Verdict(NamedTuple):
    """The fate of one attempt, fenced by its lease."""

    message_id: str
    queue_name: str
    actor_name: str
    lease_id: int
    outcome: Outcome
    started_at: datetime
    #: How long the message was ready before it was claimed.
    waited_s: float = 0.0
    #: How long the attempt ran; None where it never started.
    run_s: float | None = None
    #: How long the message is to wait for its next attempt.
    wait_s: float = 0.0
    reason: str | None = None
    retries: int | None = None
    #: The message as JSON where its options changed (a retry), else None.
    message: str | None = None
    error: AttemptError | None = None
    #: Rows that hooks enqueued (pipelines, callbacks); stored in the verdict's own transaction.
    followups: tuple[OutgoingRow, ...] = ()
    #: What the actor returned, or how it failed, for whoever waits for it.
    results: tuple[ResultRow, ...] = ()
    #: The group it belongs to, where that has callbacks.
    arrival: Arrival | None = None

    @property
    def takes_away(self) -> bool:
        """Whether the process takes its message back from a thread, or before one had it; not an actor's own end."""
        return self.outcome is Outcome.RELEASED and self.run_s is None

    @property
    def has_effects(self) -> bool:
        return bool(self.followups or self.results or self.arrival)

    @property
    def cause(self) -> Cause | None:
        """What this attempt failed of, or None where nothing did."""
        if self.outcome is Outcome.DEAD and (self.error is None or self.reason in REASONS_WITHOUT_RUN):
            return cause_of_reason(self.reason or "", self.actor_name)
        return None if self.error is None else Cause(self.error.fingerprint, self.error.place)

    @property
    def size_bytes(self) -> int:
        """How much of a batch it takes up, as far as it matters."""
        size_bytes = len(self.message or "") + (len(self.error.traceback) if self.error is not None else 0)
        if self.has_effects:
            callbacks = [row for row, _, _ in self.arrival.callbacks] if self.arrival is not None else []
            size_bytes += sum(len(row.message) for row in (*self.followups, *callbacks))
            size_bytes += sum(len(result.value) for result in self.results)
        return size_bytes


def one_of_each_lease(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts that count: where a message ended while it was being handed back, its end.

    What the actor did is done then; to run it again would do it twice. Where the two are not written together, the
    fence decides: the first one counts and the other is lost.
    """
    kept: dict[int, Verdict] = {}
    for verdict in verdicts:
        other = kept.get(verdict.lease_id)
        if other is None or (other.takes_away and not verdict.takes_away):
            kept[verdict.lease_id] = verdict
    return list(kept.values())
