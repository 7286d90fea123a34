"""Metrics and health of the worker processes of one machine or pod, on one port.

Processes that belong together share a folder: prometheus_client keeps their metrics there, and each writes a line
about its health. Whoever serves the port reads the folder, so one port answers for all of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from callboard.log import get_logger

log = get_logger(__name__)

REPORT_INTERVAL_S = 1.0
#: A health line that is older comes from a process that hangs, s.
REPORT_OVERDUE_S = 60.0
BIND_RETRY_S = 1.0
#: How long a taken port is taken for a sibling's, before it is reported, s.
BIND_PATIENCE_S = 30.0

Health = dict[str, str | None]


def shared_dir(master_pid: int | None = None) -> Path:
    """Return the folder that the processes of one master share, and make it; folders of ended masters are removed."""
    place = place_of(os.getppid() if master_pid is None else master_pid)
    parent = place.parent
    parent.mkdir(mode=0o700, exist_ok=True)
    for old in parent.iterdir():
        # In a container the master is always process 1, so the number alone does not tell its runs apart.
        old_pid, _, old_start = old.name.partition("-")
        if _is_alive(int(old_pid)) and _started(int(old_pid)) == old_start:
            continue
        # Several processes that start at once clean up the same folder.
        with contextlib.suppress(OSError):
            for file in old.iterdir():
                file.unlink(missing_ok=True)
            old.rmdir()
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def place_of(master_pid: int) -> Path:
    """Return where that folder is, or will be."""
    parent = Path(tempfile.gettempdir()) / f"callboard-metrics-{os.getuid()}"
    return parent / f"{master_pid}-{_started(master_pid)}"


def _started(pid: int) -> str:
    """Tell two processes that had the same number apart, where /proc shows when each began."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return "0"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def report_health(place: Path, health: Callable[[], Mapping[str, Any]]) -> None:
    """Write this process's health into the shared folder every second, from a thread of its own.

    health() returns "dead" and "unready", and whatever else its supervisor should know.
    """

    def report() -> None:
        target = place / f"health-{os.getpid()}.json"
        while place.exists():
            _write(target, json.dumps(health()))
            time.sleep(REPORT_INTERVAL_S)

    threading.Thread(target=report, name="callboard-health", daemon=True).start()


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
    """Return the health of all living processes of the folder together, and how many there are."""
    together: Health = {"dead": None, "unready": None}
    count = 0
    for file in sorted(place.glob("health-*.json")):
        pid = int(file.stem.removeprefix("health-"))
        if not _is_alive(pid):
            _forget(place, pid)
            continue
        count += 1
        with contextlib.suppress(FileNotFoundError):
            health = json.loads(file.read_text())
            if time.time() - file.stat().st_mtime > REPORT_OVERDUE_S:
                health["dead"] = f"it has not reported for {REPORT_OVERDUE_S:g} s"
            for name in together:
                if why := health.get(name):
                    together[name] = f"process {pid}: {why}"
    return together, count


def _forget(place: Path, pid: int) -> None:
    """Drop what a dead process leaves behind; its counters stay, they happened."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, str(place))
    (place / f"health-{pid}.json").unlink(missing_ok=True)


def render_metrics(place: Path) -> bytes:
    """Return the folder's metrics in Prometheus's text format."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    class WrittenFiles(MultiProcessCollector):
        def collect(self) -> Any:
            # A file is empty for a moment after its process made it, and would fail the whole page.
            return self.merge([str(file) for file in place.glob("*.db") if _size_bytes(file)])

    read_health(place)
    registry = CollectorRegistry()
    WrittenFiles(registry, str(place))
    return generate_latest(registry)


def _size_bytes(file: Path) -> int:
    # A dead process's gauges may be forgotten meanwhile, by another request.
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def make_server(host: str, port: int, place: Path) -> ThreadingHTTPServer:
    """Bind the port and return a server of /metrics, /health/live and /health/ready. Raises: OSError."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?", 1)[0]
            if path == "/metrics":
                self._answer(200, "text/plain; version=0.0.4; charset=utf-8", render_metrics(place))
            elif path in ("/health/live", "/health/ready"):
                health, count = read_health(place)
                why = health["dead"] if path == "/health/live" else health["unready"]
                if not count:
                    why = "no worker process has started yet"
                body = {"status": "unhealthy", "error": why} if why else {"status": "ok", "processes": count}
                self._answer(503 if why else 200, "application/json", json.dumps(body).encode())
            else:
                self._answer(404, "application/json", b'{"error": "Ask for /metrics, /health/live or /health/ready."}')

        def _answer(self, status: int, media_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep quiet: a probe every second is no event."""

    ThreadingHTTPServer.daemon_threads = True
    return ThreadingHTTPServer((host, port), Handler)


def serve_when_free(host: str, port: int, place: Path) -> None:
    """Serve the port from a thread as soon as it is free: one of several sibling processes does, then the next."""

    def serve() -> None:
        patience_until = time.monotonic() + BIND_PATIENCE_S
        while True:
            try:
                server = make_server(host, port, place)
            except OSError as error:
                if patience_until and time.monotonic() > patience_until and not _is_ours(port):
                    log.warning(
                        "metrics port is taken; set METRICS_PORT to another, or to off", port=port, error=str(error)
                    )
                    patience_until = 0
                time.sleep(BIND_RETRY_S)
                continue
            with server:
                server.serve_forever()

    threading.Thread(target=serve, name="callboard-metrics", daemon=True).start()


def _is_ours(port: int) -> bool:
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            return b"callboard_" in answer.read()
    except OSError:
        return False
