"""The worker processes of one measurement: started, held at the gate, counted, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import costs, tally
from benchmarks.contenders import Contender
from benchmarks.peer import Variant
from benchmarks.servers import BenchFailed, free_port

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 15
#: Longest time without a message run, s.
STILL_TIMEOUT_S = 60
LOOK_S = 0.005


class Workers:
    """One variant of a contender, running. After the block none of its processes is left."""

    def __init__(self, contender: Contender, variant: Variant, url: str, *, has_gate: bool = True) -> None:
        self.contender = contender
        self.variant = variant
        self._url = url
        self._has_gate = has_gate
        self._processes: list[subprocess.Popen[bytes]] = []
        self.go_at = 0.0

    def __enter__(self) -> Self:
        self._place = tempfile.TemporaryDirectory(prefix="callboard-bench-")
        self.folder = Path(self._place.name)
        if not self._has_gate:
            self.go()
        try:
            for _ in range(self.variant.processes):
                self.start_one()
            if self._has_gate:
                self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_one(self) -> None:
        """Start the variant's command once (more)."""
        environment = self.contender.environment(
            self._url,
            **{tally.FOLDER_VARIABLE: str(self.folder)},
            **{name: _with_port(value) for name, value in self.variant.environment},
        )
        with (self.folder / f"worker-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [self.contender.python, "-m", *(_with_port(part) for part in self.variant.command)],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)

    def go(self) -> None:
        """Open the gate."""
        self.go_at = time.time()
        (self.folder / tally.GO_FILE).touch()

    def pids(self) -> set[int]:
        return costs.descendants(process.pid for process in self._processes)

    def running_pids(self) -> list[int]:
        """Return the processes that run messages and live."""
        tallied = {int(path.stem) for path in self.folder.glob("*.tally")}
        return sorted(tallied & self.pids())

    def cpu_s(self) -> float:
        return costs.cpu_s(self.pids())

    def figures(self) -> tuple[float, float, int]:
        """Return the moments of the first and the last start, and the number of messages run."""
        found = [path.read_bytes() for path in self.folder.glob("*.tally")]
        # A tally that is being made is empty for a moment.
        cells = [tally.LAYOUT.unpack(content) for content in found if content]
        begun = [first for first, _, count in cells if count]
        return min(begun, default=0.0), max((last for _, last, _ in cells), default=0.0), int(sum(c for *_, c in cells))

    def latencies(self) -> list[float]:
        """Return what the latency handler wrote down, s."""
        return [float(line) for path in self.folder.glob("*.latency") for line in path.read_text().splitlines()]

    def wait_for(self, count: int, timeout_s: float) -> float:
        """Wait until count messages have run, and return when that was."""
        until, seen, still_until = time.monotonic() + timeout_s, 0, time.monotonic() + STILL_TIMEOUT_S
        while (found := self.figures()[2]) < count:
            self.check()
            if found != seen:
                seen, still_until = found, time.monotonic() + STILL_TIMEOUT_S
            if time.monotonic() > min(until, still_until):
                raise self.failure(f"had run {found} of {count} messages when time ran out")
            time.sleep(LOOK_S)
        return time.time()

    def check(self) -> None:
        """Raise BenchFailed if a process has ended."""
        for process in self._processes:
            if process.poll() is not None:
                raise self.failure(f"a worker ended with {process.returncode}")

    def failure(self, what: str) -> BenchFailed:
        logs = [path.read_text(errors="replace").strip() for path in sorted(self.folder.glob("worker-*.log"))]
        ends = "\n".join(log[-1500:] for log in logs if log)
        return BenchFailed(f"{self.contender.name}, {self.variant.name}: {what}. {ends}".strip())

    def stop(self) -> None:
        """End the processes: asked first, killed by their numbers when they do not go."""
        everything = self.pids()
        for process in self._processes:
            process.terminate()
        until = time.monotonic() + STOP_TIMEOUT_S
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(until - time.monotonic(), 0.1))
        self._kill(everything | self.pids())
        for process in self._processes:
            process.wait()
        self._place.cleanup()

    def _kill(self, pids: Iterable[int]) -> None:
        for pid in pids:
            if _is_of(pid, self.folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while len(list(self.folder.glob("*.tally"))) < self.variant.workers:
            self.check()
            if time.monotonic() > until:
                raise self.failure(f"its {self.variant.workers} workers were not ready after {START_TIMEOUT_S} s")
            time.sleep(0.02)


def _with_port(text: str) -> str:
    return text.replace("{port}", str(free_port())) if "{port}" in text else text


def _is_of(pid: int, folder: Path) -> bool:
    """Tell whether the process is still one that we started: a number may have been given to another one since."""
    with contextlib.suppress(OSError):
        return f"{tally.FOLDER_VARIABLE}={folder}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False
