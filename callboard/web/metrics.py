"""GET /metrics: this process's counters, and what only the database knows about the queues."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from threading import Lock

import psycopg2
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from callboard import payments
from callboard.db.connections.shares import Share
from callboard.errors import DatabaseMisconfigured, DatabaseUnavailable
from callboard.log import get_logger
from callboard.ops.queues.figures import QueueFigures, queue_figures, workers_alive
from callboard.ops.queues.pace import queue_pace
from callboard.web.limits.lanes import Lane
from callboard.web.requests.access import require_token_or_loopback
from callboard.web.requests.errors import ApiError
from callboard.web.state import CurrentState

log = get_logger(__name__)
router = APIRouter(tags=["metrics"])

#: The database is asked this often at most, however many scrapers come, s.
CACHE_S = 5.0
QUERY_TIMEOUT_S = 2.0
#: Prometheus gives up after 10 s by default.
SCRAPE_TIMEOUT_S = 9.0


class QueueGauges(Collector):
    """Gauges from SQL; absent rather than stale while the database is away."""

    def __init__(self, database: Share) -> None:
        self._database = database
        self._lock = Lock()
        self._asked_at: float | None = None
        self._gauges: list[Metric] = []
        self._errors = 0

    def collect(self) -> Iterable[Metric]:
        """Return the gauges, at most CACHE_S old, and how often they could not be had."""
        with self._lock:
            if self._asked_at is None or time.monotonic() - self._asked_at >= CACHE_S:
                self._ask()
            errors = CounterMetricFamily("callboard_scrape_errors", "Scrapes that found the database away.")
            errors.add_metric([], self._errors)
            return [*self._gauges, errors]

    def _ask(self) -> None:
        try:
            with self._database.cursor(QUERY_TIMEOUT_S) as cursor:
                needed = {name: pace.workers_needed for name, pace in queue_pace(cursor).items()}
                self._gauges = _gauges(
                    queue_figures(cursor), workers_alive(cursor), needed, payments.webhook_silence(cursor)
                )
        except (DatabaseMisconfigured, DatabaseUnavailable, psycopg2.Error) as error:
            self._errors += 1
            if self._gauges or self._errors == 1:
                log.warning("queue gauges dropped: database away", error=str(error).strip()[:200])
            self._gauges = []
        self._asked_at = time.monotonic()


def _gauges(
    figures: list[QueueFigures],
    workers: dict[str, int],
    needed: dict[str, float | None],
    webhooks: payments.Silence = payments.Silence(),  # noqa: B008 - a frozen value
) -> list[Metric]:
    depth = GaugeMetricFamily("callboard_queue_depth", "Messages by what they wait for.", labels=["queue", "state"])
    oldest = GaugeMetricFamily(
        "callboard_oldest_ready_seconds", "How long the oldest message that could run has waited.", labels=["queue"]
    )
    dead = GaugeMetricFamily("callboard_dead_letters_kept", "Dead letters in the database.", labels=["queue"])
    alive = GaugeMetricFamily("callboard_workers_alive", "Worker processes that serve the queue.", labels=["queue"])
    need = GaugeMetricFamily(
        "callboard_workers_needed", "Threads that are busy on average: arrival rate by mean run time.", labels=["queue"]
    )
    paused = GaugeMetricFamily("callboard_queue_paused", "1 while the queue is paused.", labels=["queue"])
    for queue in figures:
        paused.add_metric([queue.queue_name], 0 if queue.pause is None else 1)
        # Absent while messages come and none has ended yet: nobody knows how long one runs.
        if (threads := needed.get(queue.queue_name, 0.0)) is not None:
            need.add_metric([queue.queue_name], threads)
        for state in ("ready", "delayed", "running", "stuck"):
            depth.add_metric([queue.queue_name, state], getattr(queue, state))
        oldest.add_metric([queue.queue_name], queue.oldest_ready_s or 0)
        dead.add_metric([queue.queue_name], queue.dead)
    # A queue that nobody serves shows a zero: an alert cannot fire on what is absent.
    for name in sorted({queue.queue_name for queue in figures} | workers.keys()):
        alive.add_metric([name], workers.get(name, 0))
    return [depth, oldest, dead, alive, need, paused, *_webhook_gauges(webhooks)]


def _webhook_gauges(webhooks: payments.Silence) -> list[Metric]:
    overdue = GaugeMetricFamily("callboard_payments_overdue", "Payments whose announcement should have come by now.")
    overdue.add_metric([], webhooks.overdue)
    silence = GaugeMetricFamily(
        "callboard_webhook_silence_seconds", "Time since the last webhook was accepted; infinite if none ever was."
    )
    silence.add_metric([], webhooks.seconds)
    return [overdue, silence]


@router.get("/metrics", dependencies=[Depends(require_token_or_loopback)], response_class=Response)
async def show_metrics(request: Request, state: CurrentState) -> Response:
    """Show everything in Prometheus's text format."""
    registry: CollectorRegistry | None = getattr(request.app.state, "queue_registry", None)
    if registry is None:
        registry = request.app.state.queue_registry = CollectorRegistry()
        registry.register(QueueGauges(state.database(Lane.METRICS)))
    look = state.look("metrics", partial(_exposition, registry), Lane.METRICS)
    try:
        return Response(await look.result(SCRAPE_TIMEOUT_S), media_type=CONTENT_TYPE_LATEST)
    except TimeoutError as error:
        raise ApiError(503, "busy", "The metrics could not be collected in time.") from error


def _exposition(registry: CollectorRegistry) -> bytes:
    return generate_latest(REGISTRY) + generate_latest(registry)
