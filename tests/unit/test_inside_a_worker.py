"""docs/inside-a-worker.md: its files, threads and times are those of the code."""

from __future__ import annotations

import re

import pytest

from tests.unit.pages import ROOT, names_of, rows_of

PAGE = "docs/inside-a-worker.md"
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for room in ("callboard/broker", "callboard/processes", "middleware")
    for path in (ROOT / room).rglob("*.py")
} | {name: (ROOT / name).read_text() for name in ("callboard/terms.py", "callboard/watchdog.py")}


def test_every_file_that_it_names_is_there():
    named = set(re.findall(r"`((?:callboard|middleware|tests)/[\w/.-]+)`", (ROOT / PAGE).read_text()))
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_thread_of_ours_has_its_row():
    rows = {
        (row[0].strip("`"), row[1].strip("`")) for row in rows_of(PAGE, section="Threads") if "callboard-" in row[0]
    }
    started = {
        (name, path)
        for path, text in SOURCES.items()
        for name in re.findall(r'name="(callboard-[\w-]+)"', text)
        # Of the command around Dramatiq's master, not of a worker process.
        if name != "callboard-log-end"
    }
    assert rows == started


@pytest.mark.parametrize("row", rows_of(PAGE, section="Times"), ids=lambda row: row[2])
def test_every_time_is_that_of_the_code(row):
    said = [float(figure) for figure in re.findall(r"([\d.]+) s\b", row[1])]
    found = []
    for name in names_of([row], 2):
        values = [
            v for text in SOURCES.values() for v in re.findall(rf"^{name}(?:: \w+)? = ([\d.]+)", text, re.MULTILINE)
        ]
        assert len(values) == 1, (name, values)
        found.append(float(values[0]))
    assert said == found
