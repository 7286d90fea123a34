"""The local background worker: `callboard work`, detached, one to a folder.

Whether it runs is told by a lock on its pid file, which its supervisor inherits and holds to its end: a number in a
file says nothing once the machine has given it to another program, nor in another container that shares the folder.
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
from callboard.processes.background.log_files import ERROR_LOG, OUT_LOG, last_lines
from callboard.processes.folders import make_folder, pid_namespace
from callboard.processes.reports import ProcessReport, read_reports, rss_bytes

PID_FILE = Path(".callboard") / "worker.pid"
STATE_FILE = Path(".callboard") / "worker.json"
LOG_FOLDER = Path("logs")
LOOK_INTERVAL_S = 0.1
#: Time a started worker gets to come up, or to refuse, before start() returns, s.
START_PATIENCE_S = 15.0
#: Time a process that has come up gets to reach the database, before start() says that it waits for it, s.
READY_PATIENCE_S = 5.0
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
    #: Why none of its processes may run a message, or None.
    why_idle: str | None


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
    state = _read_state(folder)
    processes = [BackgroundProcess("supervisor", pid, state.started_at, rss_bytes(pid), None, "running")]
    reports = sorted(state.reports().values(), key=lambda report: (report.started_at, report.pid))
    processes += [_process(report) for report in reports]
    return BackgroundWorker(pid, state.started_at, state.arguments, tuple(processes), _why_idle(reports))


def _why_idle(reports: Sequence[ProcessReport]) -> str | None:
    obstacles = [report.dead or report.unready for report in reports]
    if not all(obstacles):
        return None
    return obstacles[0] if obstacles else "no process has come up"


def _process(report: ProcessReport) -> BackgroundProcess:
    phase = "stopping" if report.is_ending else "retiring" if report.is_retiring else "ready"
    state = report.dead or report.unready or phase
    started_at = datetime.fromtimestamp(report.started_at, UTC) if report.started_at else None
    return BackgroundProcess("worker", report.pid, started_at, rss_bytes(report.pid), report.jobs_ended, state)


def start(
    folder: Path, arguments: Sequence[str], environment: Callable[[Path, Path], Mapping[str, str]]
) -> tuple[BackgroundWorker, bool]:
    """Start `callboard work` with these arguments in the background, unless one runs; return it and whether it is new.

    environment(logs, place) returns what its processes must be told so that they log into one folder and share the
    other. It returns when a process may run messages, at the latest after a while: why_idle says what it waits for.
    Raises: CallboardError with its last words when it ends at once, ConfigurationError when the folder cannot be
    written, Conflict when one runs in another container.
    """
    with _pid_file(folder, make=True) as file:
        until = time.monotonic() + KILL_PATIENCE_S
        while file is None or not file.lock():
            # Taken by a worker; or for a moment, by somebody who looks.
            if (running := background_state(folder)) is not None:
                return _wait_until_up(folder, lambda: False) or running, False
            if time.monotonic() > until:
                path = folder / PID_FILE
                raise Conflict(f"A process holds {path} without its number in it. Find and end it: fuser {path}")
            time.sleep(LOOK_INTERVAL_S)
        # The number of the last one is a stranger's by now; nobody may take it for the worker's.
        file.write_pid(None)
        _end_orphans(folder)
        said_before = _size(folder / LOG_FOLDER / ERROR_LOG)
        process = _launch(folder, arguments, environment, file)
    state = _wait_until_up(folder, lambda: process.poll() is not None)
    if process.poll() is not None or state is None:
        words = "\n".join(last_lines(folder / LOG_FOLDER / ERROR_LOG, 10, begin=said_before))
        raise CallboardError(f"The background worker ended at once, with exit code {process.poll()}. It said:\n{words}")
    return state, True


def _size(file: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def _wait_until_up(folder: Path, has_ended: Callable[[], bool]) -> BackgroundWorker | None:
    """Return the worker when it may run messages, has ended, or has had its time."""
    until, has_reported = time.monotonic() + START_PATIENCE_S, False
    while True:
        state = background_state(folder)
        if state is None or has_ended() or state.why_idle is None or time.monotonic() > until:
            return state
        if not has_reported and len(state.processes) > 1:
            has_reported, until = True, min(until, time.monotonic() + READY_PATIENCE_S)
        time.sleep(LOOK_INTERVAL_S)


def _launch(
    folder: Path, arguments: Sequence[str], environment: Callable[[Path, Path], Mapping[str, str]], file: _PidFile
) -> subprocess.Popen[bytes]:
    logs, place = (folder / LOG_FOLDER).resolve(), make_folder()
    try:
        logs.mkdir(exist_ok=True)
        with (logs / OUT_LOG).open("ab") as out, (logs / ERROR_LOG).open("ab") as error:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "callboard.cli", "work", *arguments],
                cwd=folder,
                env={**os.environ, **environment(logs, place)},
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
        "place": str(place),
        "namespace": pid_namespace(),
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
    return _read_state(folder).arguments


@dataclass(frozen=True, slots=True)
class _State:
    """What start() wrote of the worker: with what it was started, where its processes report, where they count."""

    started_at: datetime
    arguments: tuple[str, ...] = ()
    place: Path | None = None
    namespace: str | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether its numbers are those of another container, and other processes' here."""
        return self.namespace is not None and self.namespace != pid_namespace()

    def reports(self) -> dict[int, ProcessReport]:
        return read_reports(self.place) if self.place else {}


def _read_state(folder: Path) -> _State:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads((folder / STATE_FILE).read_text())
        started_at = datetime.fromisoformat(said["started_at"])
        return _State(started_at, tuple(said["arguments"]), Path(said["place"]), said.get("namespace"))
    return _State(datetime.now(UTC))


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
    state = _read_state(folder)
    reports = state.reports().values()
    if state.is_elsewhere and reports:
        raise Conflict(f"Processes of {folder.resolve()} still run in another container. End them there.")
    for report in reports:
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
    """The pid file of a folder, open."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._folder = folder
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
        """Return the worker's number, which leads a session; whoever took the lock writes it a moment later.

        Raises: Conflict where it is another container's.
        """
        until = time.monotonic() + KILL_PATIENCE_S
        is_elsewhere = False
        while time.monotonic() < until:
            with contextlib.suppress(ValueError, OSError, OverflowError):
                pid = int(os.pread(self.descriptor, 32, 0))
                is_elsewhere = pid > 0 and _read_state(self._folder).is_elsewhere
                if pid > 0 and not is_elsewhere and os.getsid(pid) == pid:
                    return pid
            time.sleep(LOOK_INTERVAL_S)
        if is_elsewhere:
            where = self._folder.resolve()
            raise Conflict(f"The background worker of {where} runs in another container. Look at it and end it there.")
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
        yield _PidFile(folder, descriptor)
    finally:
        os.close(descriptor)
