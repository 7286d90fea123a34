"""What worker processes say about themselves in the folder they share, and what the system says about them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callboard.processes.folders import living


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """The last report of one worker process; clocks are those of time.monotonic(), which its machine has one of.

    Numbers of processes mean something only where they were counted, in the container that the process lives in.
    """

    pid: int
    #: Dramatiq's master, the process that a supervisor starts and signals.
    master_pid: int
    #: Changes with each report, whatever the wall clock does.
    written_at: float
    #: Why it should be replaced; why it takes no new messages. None each when all is well.
    dead: str | None = None
    unready: str | None = None
    jobs_ended: int = 0
    #: The signal that lets it finish what runs and end; None while it would not be heard.
    retire_signal: int | None = None
    is_retiring: bool = False
    #: It ends because of a message that nothing could stop.
    is_stuck: bool = False
    #: It stops: what runs has its grace, and its threads end.
    is_ending: bool = False
    #: When it started, as time.time().
    started_at: float = 0.0
    reported_clock: float = 0.0
    #: Since when nothing was ready and nothing ran there; None while there is work, or it does not look for its end.
    done_since_clock: float | None = None


def read_reports(place: Path) -> dict[int, ProcessReport]:
    """Return the reports of the processes that live, by the pid of their master."""
    reports = (_read(place / f"health-{pid}.json", pid) for pid in living(place))
    return {report.master_pid: report for report in reports if report is not None}


def _read(file: Path, pid: int) -> ProcessReport | None:
    # A process may end, and its file be dropped, at any moment; one that has only just begun has none.
    with contextlib.suppress(OSError, ValueError, TypeError):
        said: Mapping[str, Any] = json.loads(file.read_text())
        if not isinstance(said, Mapping) or "master_pid" not in said:
            return None
        known = {name: said[name] for name in ProcessReport.__slots__ if name in said}
        return ProcessReport(**{**known, "pid": pid, "written_at": file.stat().st_mtime})
    return None


def rss_bytes(pid: int) -> int | None:
    """Return how much memory a process holds, or None where nobody says."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    if Path("/proc/self/statm").exists():
        return None
    asked = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607 - fixed words and a number
    return int(asked.stdout) * 1024 if asked.stdout.strip().isdecimal() else None
