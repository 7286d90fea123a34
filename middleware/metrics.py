"""Counters and histograms of every message; outcomes are counted when the database has them."""

from __future__ import annotations

import time
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

    def after_enqueue(self, broker: Broker, message: Any, delay: int | None) -> None:
        _instruments().ENQUEUED.labels(message.queue_name, message.actor_name).inc()

    def before_process_message(self, broker: Broker, message: Any) -> None:
        if isinstance(message, Delivery):
            _instruments().WAIT.labels(message.queue_name).observe(message.wait_s)
        _instruments().IN_PROGRESS.labels(message.queue_name).inc()
        message.metrics_started_clock = time.monotonic()

    def after_process_message(
        self,
        broker: Broker,
        message: Any,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        started = getattr(message, "metrics_started_clock", None)
        if started is None:
            return  # An outer middleware refused the message before it got here.
        run = _instruments().RUN.labels(message.queue_name, message.actor_name)
        run.observe(time.monotonic() - started)
        _instruments().IN_PROGRESS.labels(message.queue_name).dec()
        message.metrics_started_clock = None

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        self.after_process_message(broker, message)

    def after_verdict(self, broker: Broker, verdict: Verdict, outcome: Outcome) -> None:
        queue, actor = verdict.queue_name, verdict.actor_name
        _instruments().ENDED.labels(queue, actor, outcome.value).inc()
        if outcome is Outcome.RETRY:
            _instruments().RETRIES.labels(queue, actor).inc()
        elif outcome is Outcome.DEAD:
            _instruments().DEAD.labels(queue, actor, verdict.reason or DeadReason.PERMANENT).inc()
        elif outcome is Outcome.LOST:
            _instruments().LEASES_LOST.labels(queue).inc()

    def after_rescue(self, broker: Broker, queue: str, actor: str, outcome: str, cause: str) -> None:
        _instruments().RESCUED.labels(queue, cause).inc()
        if outcome == Outcome.DEAD:
            _instruments().DEAD.labels(queue, actor, DeadReason.LOST_WORKER.value).inc()
