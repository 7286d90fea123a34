"""Real processes of the service: started, read over HTTP and by their logs, and gone after the test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dramatiq
from prometheus_client.parser import text_string_to_metric_families

from callboard.broker import PostgresBroker
from tests.acceptance import forked_commands
from tests.conftest import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 30
END_TIMEOUT_S = 30
#: Long enough for the help of every command on a busy machine.
RUN_TIMEOUT_S = 120
#: In the environment of whatever a test starts; children inherit it, so the mark finds orphans as well.
MARK = "CALLBOARD_ACCEPTANCE_TEST"


class Process:
    """One command and what it said."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path, log_file: Path) -> None:
        self._log_file = log_file
        with log_file.open("wb") as log:
            self.popen = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def log(self) -> str:
        return self._log_file.read_text(errors="replace")

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of the log with this event."""
        lines = [line for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in map(json.loads, lines) if line.get("event") == event]

    def wait_for_event(self, event: str) -> dict[str, Any]:
        def look() -> list[dict[str, Any]]:
            assert self.popen.poll() is None or self.events(event), f"ended with {self.popen.returncode}:\n{self.log}"
            return self.events(event)

        return wait_until(look, START_TIMEOUT_S, f"{event!r} in the log")[0]

    def wait_for_text(self, text: str, timeout_s: float = START_TIMEOUT_S) -> None:
        def look() -> bool:
            assert self.popen.poll() is None or text in self.log, f"ended with {self.popen.returncode}:\n{self.log}"
            return text in self.log

        wait_until(look, timeout_s, f"{text!r} in the log")

    def terminate(self) -> None:
        self.popen.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = END_TIMEOUT_S) -> int:
        """Return the exit code."""
        return self.popen.wait(timeout_s)


class Commands:
    """Starts commands in a folder of their own with an environment that holds nothing of the machine's."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self._mark = str(uuid.uuid4())
        self._numbers = iter(range(1000))
        self._processes: list[Process] = []
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(REPOSITORY),
            "LOG_FORMAT": "json",
            "METRICS_PORT": "off",
            MARK: self._mark,
            **environment,
        }

    def start(self, *command: str, **environment: str) -> Process:
        log_file = self.folder / f"process-{next(self._numbers)}.log"
        process = Process(list(command), {**self.environment, **environment}, self.folder, log_file)
        self._processes.append(process)
        return process

    def run(self, *command: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**self.environment, **environment},
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )

    def dramatiq(
        self, *modules: str, processes: int = 1, threads: int = 2, shutdown_ms: int = 20_000, **environment: str
    ) -> Process:
        arguments = ["--processes", str(processes), "--threads", str(threads), "--skip-logging"]
        arguments += ["--worker-shutdown-timeout", str(shutdown_ms)]
        return self.start(sys.executable, "-m", "dramatiq", *modules, *arguments, **environment)

    def callboard(self, *arguments: str, **environment: str) -> Process:
        return self.start(sys.executable, "-m", "callboard.cli", *arguments, **environment)

    def run_callboard(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command; one that only asks is forked, which costs a tenth of a start."""
        its = {**self.environment, **environment}
        if forked_commands.can_fork(arguments, its):
            return forked_commands.run(arguments, its, self.folder, stdin, RUN_TIMEOUT_S)
        return self.start_callboard(*arguments, stdin=stdin, **environment)

    def start_callboard(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in an interpreter of its own."""
        return self.run(sys.executable, "-m", "callboard.cli", *arguments, stdin=stdin, **environment)

    def run_python(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-c", code, **environment)

    def left(self) -> list[int]:
        """Return the ids of everything that was started here, or by what was, and still runs."""
        # "e" appends each process's environment, on Linux and on BSD alike.
        listed = subprocess.run(["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
        mark = f"{MARK}={self._mark}"
        return [int(line.split()[0]) for line in listed.stdout.splitlines() if mark in line]

    def kill(self) -> None:
        """End everything at once. Stopped processes too, and those that are started meanwhile."""
        for _ in range(5):
            left = self.left()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self._processes:
                if process.popen.poll() is None and process.pid in left:
                    process.wait()
            if not left:
                return


@contextlib.contextmanager
def commands(folder: Path, **environment: str) -> Iterator[Commands]:
    """Lend commands, and end after the block what they left."""
    folder.mkdir(exist_ok=True)
    lent = Commands(folder, **environment)
    try:
        yield lent
    finally:
        lent.kill()


class Jobs:
    """The test's side of tests/acceptance/jobs.py: sends messages, sees what runs, lets it go on."""

    def __init__(self, url: str, place: Path) -> None:
        self.place = place
        place.mkdir(exist_ok=True)
        self._broker = PostgresBroker(url=url, middleware=[])

    def send(self, actor: str, name: str = "", *, delay_ms: int | None = None) -> str:
        """Send a message to an actor of tests/acceptance/jobs.py, or of process_jobs.py, and return its id."""
        kwargs = {"place": str(self.place), "name": name}
        message = dramatiq.Message(queue_name="jobs", actor_name=actor, args=(), kwargs=kwargs, options={})
        return str(self._broker.enqueue(message, delay=delay_ms).message_id)

    def wait_until_runs(self, name: str, *, elsewhere_than: int | None = None) -> int:
        """Return the id of the process that runs hold(name), once one does."""

        def look() -> list[int]:
            pids = [int(path.suffix[1:]) for path in self.place.glob(f"{name}.running.*")]
            return [pid for pid in pids if pid != elsewhere_than]

        return int(wait_until(look, START_TIMEOUT_S, f"{name} running")[0])

    def let_go(self, name: str) -> None:
        (self.place / f"{name}.go").touch()

    def noted(self) -> list[str]:
        """Return what note() wrote, in the order of writing."""
        path = self.place / "notes"
        return path.read_text().split() if path.exists() else []

    def ran(self) -> list[tuple[str, int]]:
        """Return what the actors of process_jobs.py ran and in which process, in the order of running."""
        path = self.place / "ran"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, int(pid)) for name, pid in map(str.split, lines)]

    def close(self) -> None:
        self._broker.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def get(port: int, path: str) -> tuple[int, str]:
    """Return status and body of a page; status 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def wait_until_ready(port: int) -> None:
    wait_until(lambda: get(port, "/health/ready")[0] == 200, START_TIMEOUT_S, "ready")


def counter(port: int, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    _, text = get(port, "/metrics")
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
