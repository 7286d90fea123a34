"""Reading the background worker's log files: the last lines of both in order of time, and what comes after."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

#: Lines below warning, and warnings and errors with whatever else a process says.
OUT_LOG = "out.log"
ERROR_LOG = "error.log"
FOLLOW_INTERVAL_S = 0.25
BLOCK_BYTES = 64 * 1024

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z")


def last_lines(file: Path, count: int) -> list[str]:
    """Return the last lines of a file, reading no more of it than they take; none where there is no file."""
    with contextlib.suppress(FileNotFoundError), file.open("rb") as opened:
        left = opened.seek(0, os.SEEK_END)
        text = b""
        while left and text.count(b"\n") <= count:
            step = min(BLOCK_BYTES, left)
            left = opened.seek(left - step)
            text = opened.read(step) + text
        return text.decode(errors="replace").splitlines()[-count:] if count else []
    return []


def merged(*parts: list[str]) -> list[str]:
    """Return lines of several files in order of their moments; one without, as of a traceback, stays with its own."""
    stamped: list[tuple[str, str]] = []
    for lines in parts:
        moment = ""
        for line in lines:
            found = _MOMENT.search(line)
            moment = found[0] if found else moment
            stamped.append((moment, line))
    return [line for _, line in sorted(stamped, key=lambda pair: pair[0])]


def recent(folder: Path, count: int) -> list[str]:
    """Return the last lines of both files together."""
    both = merged(*(last_lines(folder / name, count) for name in (OUT_LOG, ERROR_LOG)))
    return both[-count:] if count else []


def follow(folder: Path) -> Iterator[str]:
    """Return what is written from this call on, for ever; files that are rotated or emptied are followed too."""
    return _follow([_Tail(folder / name) for name in (OUT_LOG, ERROR_LOG)])


def _follow(tails: list[_Tail]) -> Iterator[str]:
    while True:
        yield from merged(*(tail.new_lines() for tail in tails))
        time.sleep(FOLLOW_INTERVAL_S)


class _Tail:
    """The end of one file, beginning where it ends now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = b""
        found = self._stat()
        self._inode, self._offset = (found.st_ino, found.st_size) if found else (0, 0)

    def new_lines(self) -> list[str]:
        found = self._stat()
        if found is None:
            return []
        if found.st_ino != self._inode or found.st_size < self._offset:
            self._inode, self._offset, self._rest = found.st_ino, 0, b""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as opened:
            opened.seek(self._offset)
            text = opened.read()
            self._offset += len(text)
            *lines, self._rest = (self._rest + text).split(b"\n")
            return [line.decode(errors="replace") for line in lines]
        return []

    def _stat(self) -> os.stat_result | None:
        with contextlib.suppress(FileNotFoundError):
            return self._path.stat()
        return None
