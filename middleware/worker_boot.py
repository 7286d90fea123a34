"""A worker process's start: checks that refuse what cannot work, logs, metrics and health."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

from callboard.errors import ConfigurationError, DatabaseUnavailable
from callboard.log import configure_logging, get_logger

from .boot_hooks import ends_process

if TYPE_CHECKING:
    from dramatiq.worker import Worker

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """What the composition root tells a booting worker process."""

    log_level: str
    log_format: str | None
    #: Where the logs go; None: to stderr.
    log_folder: Path | None
    metrics_host: str
    metrics_port: int | None
    #: Raises SchemaOutdated, DatabaseMisconfigured or DatabaseUnavailable.
    check_schema: Callable[[], None]
    #: Returns why Postgres may run out of connections, or None. Raises DatabaseUnavailable.
    connection_warning: Callable[[], str | None] = lambda: None
    #: The work has an end, and whoever waits for it should hear of it at once.
    has_end: bool = False
    #: What is set and probably not meant.
    settings_warnings: Sequence[str] = ()
    #: Returns what the database's role lacks for a worker, or None. Raises DatabaseUnavailable.
    grant_warning: Callable[[], str | None] = lambda: None


class WorkerBoot(Middleware):
    """Runs only in worker processes; a producer never sees its hooks."""

    def __init__(self, start: Callable[[], WorkerStart]) -> None:
        self._start = start
        self._is_ending = False

    @ends_process
    def after_process_boot(self, broker: Broker) -> None:
        """Check settings, schema, and what the metrics need."""
        from callboard.processes.exposition import metrics_address
        from callboard.processes.listening import is_free

        start = self._start()
        configure_logging(start.log_level, start.log_format, start.log_folder)
        for line in start.settings_warnings:
            log.warning(line)
        if start.metrics_port is not None:
            # Raises for an address that can never be had; one that is taken may come free.
            is_free(metrics_address(start.metrics_host, start.metrics_port))
        try:
            start.check_schema()
            if warning := start.connection_warning():
                log.warning(warning)
            if lack := start.grant_warning():
                # Not refused: a worker of some queues may do without the tables of the others.
                log.error(lack)
        except DatabaseUnavailable as error:
            log.warning("database is away; the worker waits for it", error=str(error))
        _join_folder()

    @ends_process
    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Check the schedules: only now are all modules imported that may declare some."""
        from callboard.broker.schedules.declaration import check_schedules

        check_schedules(broker)

    @ends_process
    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        from callboard.processes import exposition

        start, place = self._start(), Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        log.info("worker started", queues=sorted(worker.consumers), threads=worker.worker_threads)
        self._is_ending, started_at = False, time.time()
        exposition.report_health(
            place,
            lambda: {"started_at": started_at, **worker_report(broker, worker, is_ending=self._is_ending)},
            exposition.report_interval_s(has_end=start.has_end),
        )
        if start.metrics_port is not None:
            exposition.serve_when_free(start.metrics_host, start.metrics_port, place)

    def before_worker_thread_shutdown(self, broker: Broker, thread: Any) -> None:
        """Say goodbye to the mail server this thread talked to; a thread that sent none has nothing loaded."""
        if mail := sys.modules.get("callboard.mail"):
            mail.close_connection()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._is_ending = True
        log.info("worker is stopping")


def worker_report(broker: Broker, worker: Worker, *, is_ending: bool) -> dict[str, Any]:
    """Return what a worker process says about itself: for probes, and for the supervisor that may replace it."""
    master = multiprocessing.parent_process()
    runtime = _runtime_of(broker, worker)
    # Before the others: whatever they say is true at this moment or later.
    report: dict[str, Any] = {"reported_clock": time.monotonic()}
    report["master_pid"] = os.getppid() if master is None else master.pid
    if runtime is not None:
        report["jobs_ended"] = runtime.leases.messages_ended
        report["is_retiring"] = runtime.shutdown.is_retiring
        report["is_stuck"] = runtime.shutdown.is_stuck
        report["retire_signal"] = runtime.shutdown.retire_signal
        report["done_since_clock"] = runtime.intake.one_shot.done_since_clock
    # While it ends, its threads end one by one, as they should, and it is no reason to call the others unready.
    health = {"dead": None, "unready": None} if is_ending else worker_health(broker, worker)
    return {**report, **health, "is_ending": is_ending}


def _runtime_of(broker: Any, worker: Worker) -> Any:
    """Return what our broker runs for a Worker; None before its start and on brokers of another kind."""
    return broker.worker_of(worker) if hasattr(broker, "worker_of") else None


def _join_folder() -> None:
    """Live in the folder of this process's supervisor or master, where metrics and health are kept."""
    from callboard.processes.folders import join_folder

    given = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    try:
        place = join_folder(Path(given) if given else None)
    except ConfigurationError as error:
        if not given:
            raise
        raise ConfigurationError(f"The folder in PROMETHEUS_MULTIPROC_DIR cannot be used. {error}") from error
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(place)


def worker_health(broker: Broker, worker: Worker) -> dict[str, str | None]:
    """Return what keeps this process from living (then it should be replaced) and from being ready, or None each."""
    runtime = _runtime_of(broker, worker)
    if runtime is None:
        return {"dead": None, "unready": "the worker is starting"}
    dead = runtime.stalled()
    missing = worker.worker_threads - sum(thread.is_alive() for thread in worker.workers)
    if missing:
        # An exception that Dramatiq throws into a thread can end it outside of any message.
        dead = dead or f"{missing} of {worker.worker_threads} worker threads have ended"
    away = None if runtime.heartbeat.may_claim else "the database is away"
    return {"dead": dead, "unready": dead or away or runtime.failing()}
