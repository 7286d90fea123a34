"""Counters and histograms of every message; outcomes are counted when the database has them."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from callboard.broker import DeadReason, Outcome, Verdict

#: How often the gauges are set, s.
SAMPLE_INTERVAL_S = 1.0


def _instruments() -> Any:
    # Late: prometheus_client decides at its import whether processes share their metrics, and the environment that
    # tells it so is only set when a worker boots.
    from callboard import metrics

    return metrics


class Metrics(Middleware):
    """Feeds callboard.metrics."""

    def __init__(self) -> None:
        self._children: dict[tuple[str, ...], Any] = {}
        self._stopped = threading.Event()

    def after_enqueue(self, broker: Broker, message: Any, delay: int | None) -> None:
        self._child("ENQUEUED", message.queue_name, message.actor_name).inc()

    def after_enqueue_many(self, broker: Broker, messages: Sequence[Any], delay: int | None) -> None:
        for (queue, actor), count in Counter((m.queue_name, m.actor_name) for m in messages).items():
            self._child("ENQUEUED", queue, actor).inc(count)

    def after_verdicts(self, broker: Broker, written: Sequence[tuple[Verdict, Outcome]]) -> None:
        # A batch at a time, not a message: an increment that processes share costs more than a short message's run.
        waits: dict[str, list[float]] = defaultdict(list)
        runs: dict[tuple[str, str], list[float]] = defaultdict(list)
        kinds: Counter[tuple[str, str, Outcome, str]] = Counter()
        for verdict, outcome in written:
            queue, actor = verdict.queue_name, verdict.actor_name
            kinds[queue, actor, outcome, verdict.reason or ""] += 1
            if verdict.run_s is not None:
                waits[queue].append(verdict.waited_s)
                runs[queue, actor].append(verdict.run_s)
        for queue, seconds in waits.items():
            _instruments().observe_all(self._child("WAIT", queue), seconds)
        for (queue, actor), seconds in runs.items():
            _instruments().observe_all(self._child("RUN", queue, actor), seconds)
        for (queue, actor, outcome, reason), count in kinds.items():
            self._child("ENDED", queue, actor, outcome.value).inc(count)
            if outcome is Outcome.RETRY:
                self._child("RETRIES", queue, actor).inc(count)
            elif outcome is Outcome.DEAD:
                self._child("DEAD", queue, actor, reason or DeadReason.PERMANENT).inc(count)
            elif outcome is Outcome.LOST:
                self._child("LEASES_LOST", queue).inc(count)

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        self._stopped.clear()
        threading.Thread(target=self._sample, args=(broker,), name="callboard-metrics", daemon=True).start()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        self._stopped.set()

    def _sample(self, broker: Any) -> None:
        """Set the gauges of what runs in this process now and then, as counting it up and down costs too much."""
        queues: set[str] = set()
        while not self._stopped.wait(SAMPLE_INTERVAL_S):
            running = broker.worker.running() if broker.worker is not None else {}
            queues |= set(running)
            for queue in queues:
                self._child("IN_PROGRESS", queue).set(running.get(queue, 0))
        for queue in queues:
            self._child("IN_PROGRESS", queue).set(0)

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
