"""Counters and histograms of every message; outcomes are counted when the database has them."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from callboard.broker import DeadReason, Outcome, Verdict

from .boot_hooks import ends_process

#: How often the gauges are set, s.
SAMPLE_INTERVAL_S = 1.0
#: Names that this process does not know, of queues and of actors, each: a row may hold any, and a label must not grow.
FOREIGN_NAMES_MAX = 50
OTHER = "other"


def _instruments() -> Any:
    # Late: prometheus_client decides at its import whether processes share their metrics, and the environment that
    # tells it so is only set when a worker boots.
    from callboard import metrics

    return metrics


class Metrics(Middleware):
    """Feeds callboard.metrics."""

    def __init__(self) -> None:
        self._children: dict[tuple[str, ...], Any] = {}
        self._foreign: dict[str, set[str]] = {"queue": set(), "actor": set()}
        #: The workers of this process, and what ends the thread that looks at them.
        self._workers: list[Any] = []
        self._stopped = threading.Event()

    def after_enqueue(self, broker: Broker, message: Any, delay: int | None) -> None:
        self._child(broker, "ENQUEUED", message.queue_name, message.actor_name).inc()

    def after_enqueue_many(self, broker: Broker, messages: Sequence[Any], delay: int | None) -> None:
        for (queue, actor), count in Counter((m.queue_name, m.actor_name) for m in messages).items():
            self._child(broker, "ENQUEUED", queue, actor).inc(count)

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
            _instruments().observe_all(self._child(broker, "WAIT", queue), seconds)
        for (queue, actor), seconds in runs.items():
            _instruments().observe_all(self._child(broker, "RUN", queue, actor), seconds)
        for (queue, actor, outcome, reason), count in kinds.items():
            self._child(broker, "ENDED", queue, actor, outcome.value).inc(count)
            if outcome is Outcome.RETRY:
                self._child(broker, "RETRIES", queue, actor).inc(count)
            elif outcome is Outcome.DEAD:
                self._child(broker, "DEAD", queue, actor, reason or DeadReason.PERMANENT).inc(count)
            elif outcome is Outcome.LOST:
                self._child(broker, "LEASES_LOST", queue).inc(count)

    @ends_process
    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        self._begin_at_zero(broker)
        self._workers.append(worker)
        if len(self._workers) == 1:
            self._stopped = threading.Event()
            sampling = (broker, self._stopped)
            threading.Thread(target=self._sample, args=sampling, name="callboard-metrics", daemon=True).start()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        if not self._workers:
            self._stopped.set()

    def _sample(self, broker: Any, stopped: threading.Event) -> None:
        """Set the gauges of what runs in this process now and then, as counting it up and down costs too much."""
        queues: set[str] = set()
        while not stopped.wait(SAMPLE_INTERVAL_S):
            running: Counter[str] = Counter()
            for runtime in broker.workers:
                running.update(runtime.running())
            queues |= set(running)
            for queue in queues:
                self._child(broker, "IN_PROGRESS", queue).set(running.get(queue, 0))
        for queue in queues:
            self._child(broker, "IN_PROGRESS", queue).set(0)

    def _begin_at_zero(self, broker: Broker) -> None:
        """Show every counter before its first event: of one that appears with 1, increase() sees nothing."""
        for queue in broker.queues:
            self._child(broker, "WAIT", queue)
            self._child(broker, "LEASES_LOST", queue)
            for cause in _instruments().RESCUE_CAUSES:
                self._child(broker, "RESCUED", queue, cause)
        for actor in broker.actors.values():
            names = (actor.queue_name, actor.actor_name)
            for instrument in ("ENQUEUED", "RETRIES", "RUN"):
                self._child(broker, instrument, *names)
            for outcome in Outcome:
                self._child(broker, "ENDED", *names, outcome.value)
            for reason in DeadReason:
                self._child(broker, "DEAD", *names, reason.value)

    def _child(self, broker: Broker, instrument: str, *labels: str) -> Any:
        """Return the instrument for these labels; looking it up anew costs as much as counting."""
        child = self._children.get((instrument, *labels))
        if child is None:
            metric = getattr(_instruments(), instrument)
            known = {"queue": broker.queues, "actor": broker.actors}
            names = metric._labelnames  # noqa: SLF001 - prometheus_client shows them nowhere else
            child = metric.labels(*(self._bounded(*pair, known) for pair in zip(names, labels, strict=True)))
            # Not of every name that a row may hold.
            if all(label in known.get(name, labels) for name, label in zip(names, labels, strict=True)):
                self._children[(instrument, *labels)] = child
        return child

    def _bounded(self, label_name: str, value: str, known: Mapping[str, Container[str]]) -> str:
        """Return the value, or one word for all once too many have come that this process does not know."""
        foreign = self._foreign.get(label_name)
        if foreign is None or value in known[label_name] or value in foreign:
            return value
        if len(foreign) >= FOREIGN_NAMES_MAX:
            return OTHER
        foreign.add(value)
        return value

    def after_rescue(self, broker: Broker, queue: str, actor: str, outcome: str, cause: str) -> None:
        self._child(broker, "RESCUED", queue, cause).inc()
        if outcome == Outcome.DEAD:
            self._child(broker, "DEAD", queue, actor, DeadReason.LOST_WORKER.value).inc()
