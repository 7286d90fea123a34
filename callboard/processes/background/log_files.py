"""Reading the background worker's log files: the last lines of both in order of time, and what comes after."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

#: Lines below warning, and warnings and errors with whatever else a process says.
OUT_LOG = "out.log"
ERROR_LOG = "error.log"
FOLLOW_INTERVAL_S = 0.25
BLOCK_BYTES = 64 * 1024

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z")


def last_lines(file: Path, count: int, *, begin: int = 0, end: int | None = None) -> list[str]:
    """Return the last lines of a file, or of a part of it, reading no more of it than they take."""
    with contextlib.suppress(FileNotFoundError), file.open("rb") as opened:
        left = opened.seek(0, os.SEEK_END)
        left = left if end is None else min(left, end)
        text = b""
        while left > begin and text.count(b"\n") <= count:
            step = min(BLOCK_BYTES, left - begin)
            left -= step
            opened.seek(left)
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
    return _last(merged(*(last_lines(folder / name, count) for name in (OUT_LOG, ERROR_LOG))), count)


def follow(folder: Path, count: int = 0) -> Iterator[str]:
    """Return the last lines of both files, and what is written from this call on, for ever, each line once.

    Files that are rotated or emptied are followed too.
    """
    return _follow([_Tail(folder / name) for name in (OUT_LOG, ERROR_LOG)], count)


def _last(lines: list[str], count: int) -> list[str]:
    return lines[-count:] if count else []


def _follow(tails: list[_Tail], count: int) -> Iterator[str]:
    try:
        yield from _last(merged(*(tail.lines_before(count) for tail in tails)), count)
        while True:
            yield from merged(*(tail.new_lines() for tail in tails))
            time.sleep(FOLLOW_INTERVAL_S)
    finally:
        for tail in tails:
            tail.close()


class _Tail:
    """The end of one file, beginning behind the last whole line that it has now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Kept open: of a file that is rotated, what came since the last look is read to its end.
        self._file = self._opened()
        self._begin = self._offset = self._end_of_lines()
        self._rest = b""

    def lines_before(self, count: int) -> list[str]:
        """Return the last lines of what the file held when this was made."""
        return last_lines(self._path, count, end=self._begin)

    def new_lines(self) -> list[str]:
        lines = self._read_on()
        fresh = self._opened()
        if fresh is None:
            return lines
        if self._file is not None and os.path.sameopenfile(fresh.fileno(), self._file.fileno()):
            fresh.close()
            return lines
        if self._file is not None:
            # Between the two looks more may have come, before it got another name.
            lines += self._read_on()
            self._file.close()
        self._file, self._offset, self._rest = fresh, 0, b""
        return lines + self._read_on()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _opened(self) -> BinaryIO | None:
        with contextlib.suppress(FileNotFoundError):
            return self._path.open("rb")
        return None

    def _end_of_lines(self) -> int:
        if self._file is None:
            return 0
        left = self._file.seek(0, os.SEEK_END)
        while left:
            step = min(BLOCK_BYTES, left)
            self._file.seek(left - step)
            if (found := self._file.read(step).rfind(b"\n")) >= 0:
                return left - step + found + 1
            left -= step
        return 0

    def _read_on(self) -> list[str]:
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._offset:
            self._offset, self._rest = 0, b""
        self._file.seek(self._offset)
        text = self._file.read()
        self._offset += len(text)
        *lines, self._rest = (self._rest + text).split(b"\n")
        return [line.decode(errors="replace") for line in lines]
