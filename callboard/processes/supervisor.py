"""Child processes: started, watched, replaced when they end by themselves, stopped without leaving one behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from callboard.log import get_logger
from callboard.processes.adoption import reap_adopted

log = get_logger(__name__)

#: Wait before a child that ended at once is started again; doubled each time up to the maximum, s.
RESTART_WAIT_S = 0.5
RESTART_WAIT_MAX_S = 30.0
#: A child that ran this long did not end at once, s.
RAN_WELL_S = 30.0
LOOK_INTERVAL_S = 0.1
#: A request to stop that follows the first one this closely is the same one: service managers and `timeout` signal a
#: process twice, directly and through its group, s.
SAME_REQUEST_S = 0.3
#: Worker processes tell two signals apart by their distance, so the second is passed on no earlier than this, s.
SECOND_SIGNAL_AFTER_S = 0.6
#: Time the children get to leave at the second signal, s.
HURRY_TIMEOUT_S = 5.0
#: Exit code of a worker that refuses its configuration or schema: starting it again would not help.
EXIT_HOPELESS = 2


@dataclass(eq=False)
class Child:
    """One command that should always run."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Where its output goes; None: to ours.
    log_file: Path | None = None
    #: Its working directory; None: ours.
    folder: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    started_clock: float = 0.0
    quick_ends: int = 0
    restart_clock: float = 0.0

    def start(self) -> None:
        """Start the command in a session of its own: a Ctrl-C in the terminal is ours to pass on."""
        with contextlib.ExitStack() as stack:
            output: IO[Any] | None = stack.enter_context(self.log_file.open("ab")) if self.log_file else None
            self.process = subprocess.Popen(  # noqa: S603 - our own commands
                list(self.command),
                env={**os.environ, **self.environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.started_clock = time.monotonic()

    def successor(self) -> Child:
        """Return a child that is to run the same command, not started yet."""
        return replace(self, process=None, started_clock=0.0, quick_ends=0, restart_clock=0.0)

    def end_session(self) -> None:
        """End whatever of it still runs, such as the worker process of a killed master."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError(f"{self.name} was not started.")
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Keeps children running until stop(). Each is replaced on its own; the others are not touched."""

    def __init__(self, children: Sequence[Child], *, stop_timeout_s: float) -> None:
        self.children = list(children)
        self._stop_timeout_s = stop_timeout_s
        #: A plain flag: an Event's lock may be held by the very thread that the signal interrupts.
        self._is_stopping = False
        self._is_hurried = False
        self._asked_clock = 0.0
        #: When the children were looked at last; read by whoever tells whether we live.
        self.looked_clock = time.monotonic()
        #: Set when a child says that another start would not help.
        self.gave_up: Child | None = None
        #: Set where there is an end other than a request to stop.
        self.exit_code: int | None = None

    def start(self) -> None:
        for child in self.children:
            child.start()

    def request_stop(self, *_: Any) -> None:
        """Ask run() to end, and a second time: at once; fits a signal handler."""
        if not self._is_stopping:
            self._asked_clock = time.monotonic()
        elif time.monotonic() - self._asked_clock > SAME_REQUEST_S:
            self._is_hurried = True
        self._is_stopping = True

    def run(self) -> int:
        """Watch the children until request_stop() or until one gives up; stop them and return the exit code.

        0 after a stop that was asked for once, 1 when it was asked for twice; the code of a child that gave up.
        """
        while not self._is_stopping and self.gave_up is None and self.exit_code is None:
            time.sleep(LOOK_INTERVAL_S)
            self.look_once()
        self.stop()
        if self.gave_up is not None:
            return EXIT_HOPELESS
        return 1 if self._is_hurried else self.exit_code or 0

    def everyone(self) -> list[Child]:
        """Return all that was started and may run."""
        return list(self.children)

    def replaces(self, child: Child, code: int | None) -> bool:
        """Tell whether a child that ended with this code is to be started again."""
        return True

    def look_once(self) -> None:
        """Replace the children that have ended."""
        self.looked_clock = time.monotonic()
        running = [child.pid for child in self.everyone() if child.process is not None and child.is_running]
        reap_adopted(running)
        for child in list(self.children):
            if child.is_running:
                continue
            code = child.process.returncode if child.process is not None else None
            if code == EXIT_HOPELESS:
                self.gave_up = child
                return
            if child.restart_clock == 0.0:
                child.end_session()
                if not self.replaces(child, code):
                    self.children.remove(child)
                    continue
                ran_well = time.monotonic() - child.started_clock > RAN_WELL_S
                child.quick_ends = 0 if ran_well else child.quick_ends + 1
                wait_s = min(RESTART_WAIT_S * 2 ** max(child.quick_ends - 1, 0), RESTART_WAIT_MAX_S)
                child.restart_clock = time.monotonic() + wait_s
                log.warning("process ended and is replaced", process=child.name, code=code, wait_s=wait_s)
            elif time.monotonic() >= child.restart_clock:
                child.restart_clock = 0.0
                child.start()

    def stop(self) -> None:
        """Ask all children to end, wait their time, end the rest with their own children."""
        self._terminate_all()
        told_clock = time.monotonic()
        until, was_told_twice = told_clock + self._stop_timeout_s, False
        while any(child.is_running for child in self.everyone()) and time.monotonic() < until:
            if self._is_hurried and not was_told_twice and time.monotonic() > told_clock + SECOND_SIGNAL_AFTER_S:
                self._terminate_all()
                until, was_told_twice = min(until, time.monotonic() + HURRY_TIMEOUT_S), True
            time.sleep(LOOK_INTERVAL_S / 2)
            self.looked_clock = time.monotonic()
        for child in self.everyone():
            if child.process is None:
                continue
            if child.is_running:
                log.warning("process did not end in time and is killed", process=child.name)
                child.process.kill()
                child.process.wait()
            # What a child started belongs to its session; nothing of it may outlive us.
            child.end_session()

    def _terminate_all(self) -> None:
        for child in self.everyone():
            if child.is_running:
                child.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]


def worker_command(
    *, threads: int, shutdown_s: int, queues: Sequence[str] = (), modules: Sequence[str] = ()
) -> list[str]:
    """Return the command of one worker process: Dramatiq's own, with our limits."""
    command = [sys.executable, "-m", "callboard.processes.dramatiq_command", "actors", *modules]
    command += ["--processes", "1", "--threads", str(threads)]
    command += ["--skip-logging", "--worker-shutdown-timeout", str(shutdown_s * 1000)]
    if queues:
        command += ["--queues", *queues]
    return command
