"""Retry, dead letter, or later: the one place that decides what a failure means.

1. Postponed (greylisting, a pause, a provider that is down) runs later and counts nothing.
2. An attempt interrupted by a shutdown is handed back and counts nothing.
3. PermanentError, or a class in the actor's `throws`, is a dead letter at once: it would fail again.
4. Everything else, bugs included, is temporary: retried after 1, 2, 4, 8, 16 … s (at most 60 s, jittered),
   or after what Retry(delay=…) or a server's Retry-After says, the latter up to an hour.
5. When the retries are used up, by their number or by the time of `retry_for`: a dead letter, and the actor in
   `on_retry_exhausted` is told.
6. A message that an operator cancelled while it ran ends as discarded, whatever it failed with.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dramatiq.broker import Broker
from dramatiq.errors import Retry
from dramatiq.middleware import Retries, Shutdown

from callboard.broker import DeadReason, Decision, Delivery, Outcome
from callboard.broker.options import is_span, wrong_span
from callboard.errors import ConfigurationError, PermanentError, Postponed, TemporaryError

MIN_BACKOFF_MS = 1_000
MAX_BACKOFF_MS = 60_000
#: Longest wait that another system may ask for, s: one that is wrong about it must not put a message off for years.
RETRY_AFTER_MAX_S = 3_600.0
#: A wait is shortened by up to this share, so that messages that failed together do not return together.
JITTER = 0.2
#: Option in which a message carries the moment of its first failure, ms since 1970.
RETRYING_SINCE = "retrying_since"

#: What a message may say of its retries, and how a value must be to count.
_USABLE: dict[str, Callable[[Any], bool]] = {
    "max_retries": lambda value: value is None or type(value) is int,
    "min_backoff": is_span,
    "max_backoff": is_span,
    # No message carries code.
    "throws": lambda _value: False,
    "retry_when": lambda _value: False,
}


def backoff_s(retries: int, *, min_backoff_ms: int = MIN_BACKOFF_MS, max_backoff_ms: int = MAX_BACKOFF_MS) -> float:
    """Return the wait before retry number retries + 1: doubled each time, capped, without jitter, in s."""
    # 2**40 ms are 34 years; a larger exponent would only make a larger number to cut off.
    return float(min(min_backoff_ms * 2 ** min(retries, 40), max_backoff_ms)) / 1000


class RetryLimits(Retries):
    """Dramatiq's Retries with limits per queue, limits of time, and permanent and postponed failures.

    Options as there (max_retries, min_backoff, max_backoff, retry_when, throws, on_retry_exhausted), on the
    message, else on the actor, else max_retries_of(queue). retry_for, ms, ends retrying by time as well: no attempt
    starts later than that after the first failure. It only decides; the broker writes the decision.
    """

    def __init__(
        self, max_retries_of: Callable[[str], int] | None = None, *, retry_for: float | None = None, **options: Any
    ) -> None:
        super().__init__(**{"max_retries": 5, "min_backoff": MIN_BACKOFF_MS, "max_backoff": MAX_BACKOFF_MS, **options})
        if wrong := wrong_span({"retry_for": retry_for}):
            raise ConfigurationError(f"RetryLimits {wrong}")
        self._max_retries_of = max_retries_of
        self._retry_for = retry_for

    @property
    def actor_options(self) -> set[str]:
        return {*super().actor_options, "retry_for"}

    def after_process_message(
        self,
        broker: Broker,
        message: Any,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        if exception is None:
            return
        options = (
            {**broker.get_actor(message.actor_name).options, **_usable(message.options)}
            if message.actor_name in broker.actors
            else {}
        )
        retries = message.retries if isinstance(message, Delivery) else message.options.get("retries", 0)
        now = time.time()
        since = _retrying_since(message.options, retries, now)
        if isinstance(message, Delivery) and message.is_cancelled:
            decision = Decision(Outcome.DISCARDED)
        else:
            decision = self._decide(exception, retries, options, message.queue_name, retrying_s=now - since)
        decision = self._note(message, decision, options, since)
        _apply(broker, message, decision)
        if decision.reason == DeadReason.MAX_RETRIES and options.get("on_retry_exhausted"):
            limit = self._limit(options, message.queue_name)
            target = broker.get_actor(options["on_retry_exhausted"])
            target.send(message.asdict(), {"retries": retries, "max_retries": limit})

    def _note(self, message: Any, decision: Decision, options: dict[str, Any], since: float) -> Decision:
        """Write into the message what its next failure must know; return the decision."""
        match decision.outcome:
            case Outcome.DEAD | Outcome.DISCARDED:
                message.fail()
            case Outcome.RETRY:
                message.options["retries"] = decision.retries
                message.options["requeue_timestamp"] = int(time.time() * 1000)
                if self._span(options) is not None:
                    message.options[RETRYING_SINCE] = int(since * 1000)
            case Outcome.POSTPONED if RETRYING_SINCE in message.options:
                # What is nobody's failure takes nothing off the time for retries.
                message.options[RETRYING_SINCE] = int((since + decision.wait_s) * 1000)
                return replace(decision, is_message_changed=True)
        return decision

    def _decide(
        self,
        error: BaseException,
        retries: int,
        options: dict[str, Any],
        queue_name: str,
        *,
        retrying_s: float = 0.0,
    ) -> Decision:
        match error:
            case Postponed():
                wait_s = error.wait_from(datetime.now(UTC)).total_seconds()
                return Decision(Outcome.POSTPONED, wait_s=wait_s, reason=error.reason)
            case Shutdown():
                return Decision(Outcome.RELEASED)
        throws = options.get("throws")
        if isinstance(error, PermanentError) or (throws and isinstance(error, throws)):
            return Decision(Outcome.DEAD, reason=DeadReason.PERMANENT)
        if self._is_exhausted(error, retries, options, queue_name):
            return Decision(Outcome.DEAD, reason=DeadReason.MAX_RETRIES)
        wait_s = self._wait_s(error, retries, options)
        span = self._span(options)
        if span is not None and retrying_s + wait_s > span / 1000:
            # Not "expired": that one never ran and would be too old again, this one may be retried from the start.
            return Decision(Outcome.DEAD, reason=DeadReason.MAX_RETRIES)
        return Decision(Outcome.RETRY, wait_s=wait_s, retries=retries + 1)

    def _is_exhausted(self, error: BaseException, retries: int, options: dict[str, Any], queue_name: str) -> bool:
        retry_when = options.get("retry_when", self.retry_when)
        if retry_when is not None:
            return not retry_when(retries, error)
        limit = self._limit(options, queue_name)
        return limit is not None and retries >= limit

    def _limit(self, options: dict[str, Any], queue_name: str) -> int | None:
        default = self._max_retries_of(queue_name) if self._max_retries_of else self.max_retries
        limit: int | None = options.get("max_retries", default)
        return limit

    def _span(self, options: dict[str, Any]) -> float | None:
        """Return the time for retries, ms; a value that is none, in a row edited by hand, limits nothing."""
        span = options.get("retry_for", self._retry_for)
        return span if is_span(span) else None

    def _wait_s(self, error: BaseException, retries: int, options: dict[str, Any]) -> float:
        if isinstance(error, Retry) and error.delay is not None:
            return float(error.delay) / 1000
        if isinstance(error, TemporaryError) and error.retry_after_s is not None:
            # In this order what is no number at all is cut off too.
            return min(RETRY_AFTER_MAX_S, error.retry_after_s)
        wait_s = backoff_s(
            retries,
            min_backoff_ms=options.get("min_backoff", self.min_backoff),
            max_backoff_ms=options.get("max_backoff", self.max_backoff),
        )
        return wait_s * random.uniform(1 - JITTER, 1)  # noqa: S311 - jitter, not cryptography


def _usable(options: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a message's options those that are none: a decision that fails would be made again for ever.

    Whoever writes rows by hand or in another language may send anything; what the actor says counts then.
    """
    return {name: value for name, value in options.items() if name not in _USABLE or _USABLE[name](value)}


def _retrying_since(options: dict[str, Any], retries: int, now: float) -> float:
    """Return the moment of the first failure, s since 1970.

    Without a retry so far it is this one: an operator brings a dead letter back with full retries and full time.
    """
    since = options.get(RETRYING_SINCE)
    return since / 1000 if retries and is_span(since) else now


def _apply(broker: Broker, message: Any, decision: Decision) -> None:
    """Hand the decision to our broker, or act it out on one that knows only enqueue and fail (StubBroker)."""
    if isinstance(message, Delivery):
        message.decision = decision
    elif decision.outcome not in (Outcome.DEAD, Outcome.DISCARDED):
        broker.enqueue(message, delay=int(decision.wait_s * 1000))
