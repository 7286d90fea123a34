"""What really happened, as the processes themselves wrote it down: files that outlive every fault of a scenario.

Each process appends lines to a file of its own. A killed process loses none of them, because one write() of an
append-only file is whole; the sender's lines are also forced to disk, as they are what nothing may be missing from.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: In the environment of workers and senders: the folder of the journal.
FOLDER = "CHAOS_JOURNAL"


class Writer:
    """Appends one process's lines. Safe from any thread."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._file = os.open(
            folder / f"{kind}-{os.getpid()}-{time.monotonic_ns()}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT
        )

    def write(self, *, is_forced: bool = False, **line: Any) -> None:
        """Write a line; t is the machine's monotonic clock, the same in all processes."""
        os.write(self._file, (json.dumps({**line, "t": time.monotonic()}) + "\n").encode())
        if is_forced:
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt, as the actor saw it."""

    message_id: str
    actor: str
    attempt: int
    lease_id: int
    pid: int
    began: float
    #: None: its process ended first, or it still runs.
    ended: float | None = None
    #: The class of the exception that ended it, None for a return.
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A message whose send() returned: from then on it may not be lost."""

    message_id: str
    actor: str
    at: float


class Journal:
    """Reads what all processes of a scenario wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def sent(self) -> list[Sent]:
        return [Sent(line["id"], line["actor"], line["t"]) for line in self._lines("sent")]

    def runs(self) -> list[Run]:
        """Return all attempts, oldest first."""
        begun: list[dict[str, Any]] = []
        ends: dict[int, dict[str, Any]] = {}
        for line in self._lines("run"):
            if line["event"] == "begin":
                begun.append(line)
            elif line["event"] == "end":
                ends[line["lease"]] = line
        runs = []
        for line in sorted(begun, key=lambda line: line["t"]):
            end = ends.get(line["lease"], {})
            place = (line["id"], line["actor"], line["attempt"], line["lease"], line["pid"], line["t"])
            runs.append(Run(*place, end.get("t"), end.get("error")))
        return runs

    def last_line_at(self, pid: int) -> float | None:
        """Return when a process wrote its last line."""
        return max(
            (line["t"] for path in self.folder.glob(f"run-{pid}-*.jsonl") for line in _lines_of(path)), default=None
        )

    def worker_of(self, command: int) -> int:
        """Return the worker process of a `dramatiq` command, or 0 while it has none."""
        return next(
            (line["pid"] for line in self._lines("run") if line["event"] == "boot" and line["command"] == command), 0
        )

    def children_of(self, pid: int) -> list[int]:
        """Return the processes that this one started and left to themselves."""
        return [line["child"] for line in self._lines("run") if line["event"] == "child" and line["pid"] == pid]

    def _lines(self, kind: str) -> Iterator[dict[str, Any]]:
        for path in self.folder.glob(f"{kind}-*.jsonl"):
            yield from _lines_of(path)


def _lines_of(path: Path) -> Iterator[dict[str, Any]]:
    # What a process writes at this moment may lack its end.
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return map(json.loads, whole.splitlines())
