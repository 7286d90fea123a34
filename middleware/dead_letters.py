"""The reason of every dead letter that no other middleware gave one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware, SkipMessage

from callboard.broker import DeadReason, Decision, Delivery, Outcome, Verdict
from callboard.log import get_logger

log = get_logger(__name__)


class DeadLetters(Middleware):
    """Names why a failed message dies, and logs it once the database has it. The broker is the one writer."""

    def before_nack(self, broker: Broker, message: Any) -> None:
        if not isinstance(message, Delivery) or message.decision is not None:
            return
        # AgeLimit fails and skips a message that is too old; whatever else fails one without a decision meant it.
        is_too_old = isinstance(message._exception, SkipMessage)  # noqa: SLF001 - Dramatiq offers no other way to see it
        message.decision = Decision(Outcome.DEAD, reason=DeadReason.EXPIRED if is_too_old else DeadReason.PERMANENT)

    def after_verdicts(self, broker: Broker, written: Sequence[tuple[Verdict, Outcome]]) -> None:
        for verdict, outcome in written:
            if outcome is Outcome.DEAD:
                log.error(
                    "dead letter kept",
                    message_id=verdict.message_id,
                    actor=verdict.actor_name,
                    queue=verdict.queue_name,
                    reason=verdict.reason,
                    run_ms=None if verdict.run_s is None else round(verdict.run_s * 1000),
                    error_class=verdict.error.error_class if verdict.error else None,
                    error=verdict.error.message if verdict.error else None,
                    fingerprint=verdict.cause.fingerprint if verdict.cause else None,
                    # Below the line for a person, and a field of it for a machine.
                    **({"exception": verdict.error.traceback} if verdict.error else {}),
                )
