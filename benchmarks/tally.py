"""What a worker process tells the bench while it runs: it is ready, and how many messages it has run until when.

Imported by every peer's worker, so it knows nothing but the standard library. One small file a process, mapped into
memory: writing to it costs a fraction of a microsecond, the same for every peer.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from pathlib import Path

#: Names the folder where the tallies lie; unset outside of the bench's workers.
FOLDER_VARIABLE = "BENCH_TALLY_DIR"
GO_FILE = "go"
#: Moment of the first start, moment of the last start (Unix time, s), number of messages.
LAYOUT = struct.Struct("ddd")
#: A line for each start of a held message: its number, the process, the moment.
STARTS_FILE = "starts"
HOLD_TIMEOUT_S = 120
GO_LOOK_S = 0.002
GO_TIMEOUT_S = 600


class Tally:
    """The count of this process."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(b"\0" * LAYOUT.size)
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), LAYOUT.size)).cast("d")
        self._lock = threading.Lock()
        self._count = 0

    def note(self) -> None:
        # Threads of one process would lose counts to each other without the lock.
        with self._lock:
            self._count += 1
            now = time.time()
            if self._count == 1:
                self._cells[0] = now
            self._cells[1] = now
            self._cells[2] = self._count


_tally: Tally | None = None


def gate() -> None:
    """Say that this process is ready, and wait for the bench's go, so that imports decide nothing.

    Called last by a module that a worker imports. Does nothing outside of a worker of the bench.
    """
    global _tally
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return
    _tally = Tally(Path(folder) / f"{os.getpid()}.tally")
    until = time.monotonic() + GO_TIMEOUT_S
    go = Path(folder) / GO_FILE
    while not go.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"The bench gave no go within {GO_TIMEOUT_S} s.")
        time.sleep(GO_LOOK_S)


def note() -> None:
    """Count one message; the whole body of a no-op handler."""
    if _tally is not None:
        _tally.note()


def begin_hold(number: int) -> Path:
    """Write down that this process runs the numbered message now; return the file whose appearance ends it."""
    folder = Path(os.environ[FOLDER_VARIABLE])
    with (folder / STARTS_FILE).open("a") as file:
        file.write(f"{number} {os.getpid()} {time.time():.6f}\n")
    return folder / f"release-{number}"


def hold(number: int) -> None:
    """Run until the bench releases the numbered message."""
    release, until = begin_hold(number), time.monotonic() + HOLD_TIMEOUT_S
    while not release.exists() and time.monotonic() < until:
        time.sleep(0.05)


def note_latency(sent_at: float) -> None:
    """Write down how long ago a message was sent, s; the whole body of the latency handler."""
    late_s = time.time() - sent_at
    folder = Path(os.environ[FOLDER_VARIABLE])
    # One short write in append mode is atomic, also between threads.
    with (folder / f"{os.getpid()}.latency").open("a") as file:
        file.write(f"{late_s:.6f}\n")
