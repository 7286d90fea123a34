"""Metrics and health of the worker processes of one machine or pod, on one port.

Processes that belong together share a folder: prometheus_client keeps their metrics there, and each writes a line
about its health. Whoever serves the port reads the folder, so one port answers for all of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callboard.errors import AddressRefused, PortTaken
from callboard.log import get_logger
from callboard.processes.folders import forget_dead, hold, living
from callboard.processes.listening import Address, open_listeners
from callboard.processes.port import Answer, Page, WorkerPort, json_answer

if TYPE_CHECKING:
    import socket

log = get_logger(__name__)

REPORT_INTERVAL_S = 1.0
#: The same while work has an end, which its supervisor waits for, s.
REPORT_INTERVAL_AT_END_S = 0.1
#: A health line that is older comes from a process that hangs, s.
REPORT_OVERDUE_S = 60.0
BIND_RETRY_S = 1.0
#: How long a taken port is waited for before it is reported, s.
BIND_PATIENCE_S = 5.0

Health = dict[str, str | None]


def report_health(place: Path, health: Callable[[], Mapping[str, Any]], interval_s: float = REPORT_INTERVAL_S) -> None:
    """Write this process's health into the shared folder again and again, from a thread of its own.

    health() returns "dead" and "unready", and whatever else its supervisor should know.
    """

    def report() -> None:
        target = place / f"health-{os.getpid()}.json"
        while place.exists():
            _write(target, json.dumps(health()))
            time.sleep(interval_s)

    threading.Thread(target=report, name="callboard-health", daemon=True).start()


def report_interval_s(*, has_end: bool) -> float:
    """Return how often a process reports."""
    return REPORT_INTERVAL_AT_END_S if has_end else REPORT_INTERVAL_S


def _write(target: Path, text: str) -> None:
    unfinished = target.with_suffix(".new")
    try:
        unfinished.write_text(text)
        unfinished.replace(target)
    except OSError:
        # The disk is full: the old report must not look as if this process hung.
        with contextlib.suppress(OSError):
            os.utime(target)


def read_health(place: Path) -> tuple[Health, int]:
    """Return the health of all living processes of the folder together, and how many have reported."""
    together: Health = {"dead": None, "unready": None}
    count = 0
    for pid in living(place):
        # One that has only just begun has not reported; one that ends now may take its report along.
        with contextlib.suppress(FileNotFoundError, ValueError):
            file = place / f"health-{pid}.json"
            health, written_at = json.loads(file.read_text()), file.stat().st_mtime
            if time.time() - written_at > REPORT_OVERDUE_S:
                health["dead"] = f"it has not reported for {REPORT_OVERDUE_S:g} s"
            count += 1
            for name in together:
                # One that does not live is not ready either.
                if why := health.get(name) or health.get("dead"):
                    together[name] = f"process {pid}: {why}"
    return together, count


def render_metrics(place: Path) -> bytes:
    """Return the folder's metrics in Prometheus's text format."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    class WrittenFiles(MultiProcessCollector):
        def collect(self) -> Any:
            # A file is empty for a moment after its process made it, and would fail the whole page.
            return self.merge([str(file) for file in place.glob("*.db") if _size_bytes(file)])

    forget_dead(place)
    registry = CollectorRegistry()
    WrittenFiles(registry, str(place))
    return generate_latest(registry)


def _size_bytes(file: Path) -> int:
    # A dead process's gauges may be forgotten meanwhile, by another request.
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def pages(place: Path, mending: Callable[[], str | None] | None = None) -> dict[str, Page]:
    """Return what the port answers.

    mending() tells why a supervisor does not mend what its processes lack, or None. While it does, they live: it is
    no help to end all of them because one is being replaced. Without a supervisor nobody mends.
    """
    started_clock = time.monotonic()
    has_reported = threading.Event()

    def live() -> Answer:
        health, count = read_health(place)
        if count:
            has_reported.set()
        if not has_reported.is_set():
            return _health_answer("no worker process has started yet", 0)
        if mending is not None:
            return _health_answer(mending(), count)
        return _health_answer(health["dead"] if count else "no worker process is left", count)

    def ready() -> Answer:
        health, count = read_health(place)
        return _health_answer(health["unready"] if count else "no worker process has started yet", count)

    def show() -> Answer:
        """Say that the port answers, in the words of the old worker; asks nothing else."""
        now, uptime_s = datetime.now(UTC).isoformat(), round(time.monotonic() - started_clock, 3)
        return json_answer(200, {"status": "ok", "service": "worker", "timestamp": now, "uptime": uptime_s})

    def metrics() -> Answer:
        return Answer(200, render_metrics(place), "text/plain; version=0.0.4; charset=utf-8")

    quick = {"/health": Page(show), "/health/live": Page(live), "/health/ready": Page(ready)}
    return {"/metrics": Page(metrics, is_slow=True), **quick}


def _health_answer(why: str | None, count: int) -> Answer:
    if why:
        return json_answer(503, {"status": "unhealthy", "error": why})
    return json_answer(200, {"status": "ok", "processes": count})


def metrics_address(host: str, port: int) -> Address:
    """Return where a worker's port is, with the names of the settings that say so."""
    return Address(host, port, "METRICS_HOST", "METRICS_PORT", port_choices="another or to off")


def serve_when_free(host: str, port: int, place: Path, mending: Callable[[], str | None] | None = None) -> None:
    """Serve the port from a thread as soon as it is free: one of several sibling processes does, then the next."""
    address = metrics_address(host, port)

    def serve() -> None:
        # Whoever holds this serves; so a taken port is a stranger's, and not a sibling's.
        while not hold(place / "port.lock"):
            time.sleep(BIND_RETRY_S)
        WorkerPort(_listeners(address), pages(place, mending)).serve()

    threading.Thread(target=serve, name="callboard-metrics", daemon=True).start()


def _listeners(address: Address) -> list[socket.socket]:
    """Listen as soon as that can be had, and say once why it cannot yet: the processes work without it."""
    patience_until, reported = time.monotonic() + BIND_PATIENCE_S, ""
    while True:
        try:
            listeners = open_listeners(address)
        except (AddressRefused, PortTaken) as error:
            # The last run of this service may still be ending.
            is_patient = isinstance(error, PortTaken) and time.monotonic() < patience_until
            if str(error) != reported and not is_patient:
                reported = str(error)
                log.warning("metrics and health are not served", why=reported)
            time.sleep(BIND_RETRY_S)
            continue
        if reported:
            log.info("metrics and health are served now", host=address.host, port=address.port)
        return listeners
