"""What a measurement costs beside its time: processor seconds of processes, from /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Places in /proc/<pid>/stat after the command's name: state is 0.
_PPID, _UTIME, _STIME, _CUTIME, _CSTIME = 1, 11, 12, 13, 14


def _stat(pid: int) -> list[str] | None:
    # The command's name may hold blanks and brackets; what follows its last bracket is regular.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None


def descendants(pids: Iterable[int]) -> set[int]:
    """Return the processes and all they have started that live."""
    found = set(pids)
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            parents[int(entry.name)] = int(stat[_PPID])
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid for pid in found if pid in parents}


def cpu_s(pids: Iterable[int], *, with_ended_children: bool = False) -> float:
    """Return the processor seconds that the processes have used; of ended children only where asked for."""
    ticks = 0
    for pid in pids:
        if (stat := _stat(pid)) is not None:
            ticks += int(stat[_UTIME]) + int(stat[_STIME])
            if with_ended_children:
                ticks += int(stat[_CUTIME]) + int(stat[_CSTIME])
    return ticks / TICKS_PER_S


def tree_cpu_s(pid: int) -> float:
    """Return the processor seconds of a process, its living descendants and those that have ended."""
    return cpu_s(descendants([pid]), with_ended_children=True)


def machine_cpu_s() -> float:
    """Return the processor seconds that everything on this machine has used; what a hypervisor took counts too."""
    user, nice, system, _idle, _wait, irq, softirq, steal = (
        int(ticks) for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def memory_bytes(pids: Iterable[int]) -> int:
    """Return the resident memory of the processes."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * PAGE_BYTES
