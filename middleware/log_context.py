"""Message id, actor, queue and attempt on every line that is logged while a message runs."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from dramatiq.broker import Broker
from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.middleware import Middleware

from callboard.broker import Delivery, Outcome
from callboard.log import clear_log_context, get_logger, set_log_context

log = get_logger(__name__)


class LogContext(Middleware):
    """The outermost middleware: every other one's lines carry the message too."""

    def before_process_message(self, broker: Broker, message: Any) -> None:
        set_log_context(partial(_log_fields, message))
        if not isinstance(message, Delivery):
            message.log_started_clock = time.monotonic()
        log.debug("message started")

    def after_process_message(
        self,
        broker: Broker,
        message: Any,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        if exception is None:
            if log.has_info:
                log.info("message done", run_ms=_run_ms(message))
            return
        run_ms = _run_ms(message)
        decision = message.decision if isinstance(message, Delivery) else None
        if decision and decision.outcome is Outcome.POSTPONED:
            log.info("message postponed", run_ms=run_ms, reason=decision.reason, wait_s=round(decision.wait_s, 1))
            return
        if decision and decision.outcome is Outcome.DISCARDED:
            log.info("message discarded", run_ms=run_ms, error_class=type(exception).__name__)
            return
        if decision and decision.outcome is Outcome.DEAD:
            return  # Said with its traceback when the dead letter is kept.
        log.warning(
            "message failed",
            failure=None if _is_expected(broker, message, exception) else exception,
            run_ms=run_ms,
            outcome=decision.outcome.value if decision else None,
            reason=decision.reason if decision else None,
            wait_s=round(decision.wait_s, 1) if decision else None,
            error_class=type(exception).__name__,
            error=str(exception),
        )

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        log.info("message skipped")

    def after_ack(self, broker: Broker, message: Any) -> None:
        clear_log_context()

    after_nack = after_ack


def _is_expected(broker: Broker, message: Any, exception: BaseException) -> bool:
    """Tell whether a failure is nothing to be surprised at, as Dramatiq has it."""
    actor = broker.actors.get(message.actor_name)
    throws = message.options.get("throws") or (actor.options.get("throws") if actor else None)
    is_thrown = isinstance(throws, (type, tuple)) and isinstance(exception, throws)
    return isinstance(exception, (Retry, RateLimitExceeded)) or is_thrown


def _log_fields(message: Any) -> dict[str, Any]:
    """Return what every line that is logged while the message runs carries."""
    return {
        "message_id": message.message_id,
        "actor": message.actor_name,
        "queue": message.queue_name,
        "attempt": message.attempt if isinstance(message, Delivery) else message.options.get("retries", 0) + 1,
    }


def _run_ms(message: Any) -> int:
    if isinstance(message, Delivery):
        return round((message.run_s or 0.0) * 1000)
    return round((time.monotonic() - getattr(message, "log_started_clock", time.monotonic())) * 1000)
