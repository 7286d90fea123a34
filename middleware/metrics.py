"""Counters and histograms of every message; outcomes are counted when the database has them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from callboard.broker import DeadReason, Delivery, Outcome, Verdict


def _instruments() -> Any:
    # Late: prometheus_client decides at its import whether processes share their metrics, and the environment that
    # tells it so is only set when a worker boots.
    from callboard import metrics

    return metrics


class Metrics(Middleware):
    """Feeds callboard.metrics."""

    def __init__(self) -> None:
        self._children: dict[tuple[str, ...], Any] = {}

    def after_enqueue(self, broker: Broker, message: Any, delay: int | None) -> None:
        self._child("ENQUEUED", message.queue_name, message.actor_name).inc()

    def before_process_message(self, broker: Broker, message: Any) -> None:
        self._child("WAIT", message.queue_name).observe(message.wait_s if isinstance(message, Delivery) else 0.0)
        self._child("IN_PROGRESS", message.queue_name).inc()
        message.metrics_started_clock = time.monotonic()

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        started = getattr(message, "metrics_started_clock", None)
        if started is None:
            return  # An outer middleware refused the message before it got here.
        self._child("RUN", message.queue_name, message.actor_name).observe(time.monotonic() - started)
        self._child("IN_PROGRESS", message.queue_name).dec()
        message.metrics_started_clock = None

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        self.after_process_message(broker, message)

    def after_verdicts(self, broker: Broker, written: Sequence[tuple[Verdict, Outcome]]) -> None:
        # Counted a batch, not a message: an increment that processes share costs more than a short message's run.
        kinds = Counter((v.queue_name, v.actor_name, outcome, v.reason) for v, outcome in written)
        for (queue, actor, outcome, reason), count in kinds.items():
            self._child("ENDED", queue, actor, outcome.value).inc(count)
            if outcome is Outcome.RETRY:
                self._child("RETRIES", queue, actor).inc(count)
            elif outcome is Outcome.DEAD:
                self._child("DEAD", queue, actor, reason or DeadReason.PERMANENT.value).inc(count)
            elif outcome is Outcome.LOST:
                self._child("LEASES_LOST", queue).inc(count)

    def _child(self, instrument: str, *labels: str) -> Any:
        """Return the instrument for these labels; looking it up anew costs as much as counting."""
        child = self._children.get((instrument, *labels))
        if child is None:
            child = getattr(_instruments(), instrument).labels(*labels)
            self._children[(instrument, *labels)] = child
        return child

    def after_rescue(self, broker: Broker, queue: str, actor: str, outcome: str, cause: str) -> None:
        _instruments().RESCUED.labels(queue, cause).inc()
        if outcome == Outcome.DEAD:
            _instruments().DEAD.labels(queue, actor, DeadReason.LOST_WORKER.value).inc()
