"""The local background worker: `callboard work`, detached, one to a folder.

Whether it runs is told by a lock on its pid file, which its supervisor inherits and holds to its end: a number in a
file says nothing once the machine has given it to another program.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from callboard.errors import CallboardError, ConfigurationError, Conflict
from callboard.ops.exposition import place_of
from callboard.ops.log_files import ERROR_LOG, OUT_LOG, last_lines
from callboard.ops.process_reports import ProcessReport, read_reports, rss_bytes

PID_FILE = Path(".callboard") / "worker.pid"
STATE_FILE = Path(".callboard") / "worker.json"
LOG_FOLDER = Path("logs")
LOOK_INTERVAL_S = 0.1
#: Time a started worker gets to come up, or to refuse, before start() returns, s.
START_PATIENCE_S = 15.0
#: Time a killed process gets to be gone, s.
KILL_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class BackgroundProcess:
    """One process of the background worker; state is ready, starting, retiring, stopping, or why it is not ready."""

    role: str
    pid: int
    started_at: datetime | None
    rss_bytes: int | None
    messages_ended: int | None
    state: str


@dataclass(frozen=True, slots=True)
class BackgroundWorker:
    """The background worker that runs in a folder: its supervisor, what it was started with, and its processes."""

    pid: int
    started_at: datetime
    arguments: tuple[str, ...]
    processes: tuple[BackgroundProcess, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """How the background worker ended."""

    pid: int
    took_s: float
    was_killed: bool


def background_state(folder: Path = Path()) -> BackgroundWorker | None:
    """Return what runs in the background of a folder, or None. Raises: ConfigurationError when nobody may look."""
    with _pid_file(folder) as file:
        pid = None if file is None or file.lock(shared=True) else file.wait_for_pid()
    if pid is None:
        return None
    started_at, arguments, place = _read_state(folder)
    processes = [BackgroundProcess("supervisor", pid, started_at, rss_bytes(pid), None, "running")]
    reports = sorted(read_reports(place).values(), key=lambda report: (report.started_at, report.pid)) if place else []
    processes += [_process(report) for report in reports]
    return BackgroundWorker(pid, started_at, arguments, tuple(processes))


def _process(report: ProcessReport) -> BackgroundProcess:
    phase = "stopping" if report.is_ending else "retiring" if report.is_retiring else "ready"
    state = report.dead or report.unready or phase
    started_at = datetime.fromtimestamp(report.started_at, UTC) if report.started_at else None
    return BackgroundProcess("worker", report.pid, started_at, rss_bytes(report.pid), report.jobs_ended, state)


def start(
    folder: Path, arguments: Sequence[str], environment: Callable[[Path], Mapping[str, str]]
) -> tuple[BackgroundWorker, bool]:
    """Start `callboard work` with these arguments in the background, unless one runs; return it and whether it is new.

    environment(logs) returns what its processes must be told so that they log into that folder.
    It returns when the first process has come up, at the latest after a while. Raises: CallboardError with its last
    words when it ends at once, ConfigurationError when the folder cannot be written.
    """
    with _pid_file(folder, make=True) as file:
        until = time.monotonic() + KILL_PATIENCE_S
        while file is None or not file.lock():
            # Taken by a worker; or for a moment, by somebody who looks.
            if (running := background_state(folder)) is not None:
                return running, False
            if time.monotonic() > until:
                path = folder / PID_FILE
                raise Conflict(f"A process holds {path} without its number in it. Find and end it: fuser {path}")
            time.sleep(LOOK_INTERVAL_S)
        # The number of the last one is a stranger's by now; nobody may take it for the worker's.
        file.write_pid(None)
        _end_orphans(folder)
        process = _launch(folder, arguments, environment, file)
    place = place_of(process.pid)
    until = time.monotonic() + START_PATIENCE_S
    while process.poll() is None and not read_reports(place) and time.monotonic() < until:
        time.sleep(LOOK_INTERVAL_S)
    state = background_state(folder)
    if process.poll() is not None or state is None:
        words = "\n".join(last_lines(folder / LOG_FOLDER / ERROR_LOG, 10))
        raise CallboardError(f"The background worker ended at once, with exit code {process.poll()}. It said:\n{words}")
    return state, True


def _launch(
    folder: Path, arguments: Sequence[str], environment: Callable[[Path], Mapping[str, str]], file: _PidFile
) -> subprocess.Popen[bytes]:
    logs = (folder / LOG_FOLDER).resolve()
    try:
        logs.mkdir(exist_ok=True)
        with (logs / OUT_LOG).open("ab") as out, (logs / ERROR_LOG).open("ab") as error:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "callboard.cli", "work", *arguments],
                cwd=folder,
                env={**os.environ, **environment(logs)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=error,
                start_new_session=True,
                pass_fds=(file.descriptor,),
            )
    except OSError as error_:
        raise ConfigurationError(f"The logs cannot be written into {logs}: {error_}.") from error_
    state = {
        "arguments": list(arguments),
        "started_at": datetime.now(UTC).isoformat(),
        "place": str(place_of(process.pid)),
    }
    try:
        (folder / STATE_FILE).write_text(json.dumps(state))
        file.write_pid(process.pid)
    except OSError as error_:
        process.terminate()
        raise ConfigurationError(f"{folder / STATE_FILE} cannot be written: {error_}.") from error_
    return process


def last_arguments(folder: Path) -> tuple[str, ...]:
    """Return what the background worker was started with last."""
    return _read_state(folder)[1]


def _read_state(folder: Path) -> tuple[datetime, tuple[str, ...], Path | None]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        state = json.loads((folder / STATE_FILE).read_text())
        return datetime.fromisoformat(state["started_at"]), tuple(state["arguments"]), Path(state["place"])
    return datetime.now(UTC), (), None


def stop(folder: Path, timeout_s: float) -> Stopped | None:
    """Ask the background worker to end, wait, and kill what is left after timeout_s; None where none runs."""
    if (running := background_state(folder)) is None:
        _end_orphans(folder)
        return None
    began_clock = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
    was_killed = not _is_gone_within(folder, timeout_s)
    if was_killed:
        children = _children_of(running.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGKILL)
        for pid in children:
            # Each began a session of its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        if not _is_gone_within(folder, KILL_PATIENCE_S):
            raise CallboardError(f"Process {running.pid} does not end, not even when it is killed. Look at it with: ps")
    return Stopped(running.pid, time.monotonic() - began_clock, was_killed)


def _end_orphans(folder: Path) -> None:
    """Ask processes to end whose supervisor was killed: they would work on beside the new ones, watched by nobody."""
    place = _read_state(folder)[2]
    for report in read_reports(place).values() if place else ():
        with contextlib.suppress(ProcessLookupError):
            # The number of a master may be another's by now; what it started is in its session.
            if os.getsid(report.pid) == report.master_pid:
                os.kill(report.master_pid, signal.SIGTERM)


def _is_gone_within(folder: Path, timeout_s: float) -> bool:
    until = time.monotonic() + timeout_s
    with _pid_file(folder) as file:
        while file is not None and not file.lock(shared=True):
            if time.monotonic() > until:
                return False
            time.sleep(LOOK_INTERVAL_S)
        if file is not None:
            file.write_pid(None)
    return True


def _children_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)  # noqa: S607 - wherever the system has it
    pairs = [line.split() for line in listed.stdout.splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


class _PidFile:
    """The pid file, open."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def lock(self, *, shared: bool = False) -> bool:
        """Take its lock, for as long as it is open here or in a child that inherits it; False while it is another's.

        shared: only to see whether it is free.
        """
        try:
            fcntl.flock(self.descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def write_pid(self, pid: int | None) -> None:
        os.ftruncate(self.descriptor, 0)
        if pid is not None:
            os.pwrite(self.descriptor, f"{pid}\n".encode(), 0)

    def wait_for_pid(self) -> int | None:
        """Return the worker's number, which leads a session; whoever took the lock writes it a moment later."""
        until = time.monotonic() + KILL_PATIENCE_S
        while time.monotonic() < until:
            with contextlib.suppress(ValueError, OSError, OverflowError):
                pid = int(os.pread(self.descriptor, 32, 0))
                if pid > 0 and os.getsid(pid) == pid:
                    return pid
            time.sleep(LOOK_INTERVAL_S)
        return None


@contextlib.contextmanager
def _pid_file(folder: Path, *, make: bool = False) -> Iterator[_PidFile | None]:
    """Lend the pid file; None where there is none and none is to be made. Raises: ConfigurationError."""
    path = folder / PID_FILE
    try:
        if make:
            path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o644)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise ConfigurationError(f"The background worker's {path} cannot be opened: {error.strerror}.") from error
    try:
        yield _PidFile(descriptor)
    finally:
        os.close(descriptor)
