"""What worker processes say about themselves: read while they start, write and end."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys

import pytest

from callboard.processes.reports import read_reports, rss_bytes


@pytest.fixture
def write(tmp_path):
    """Write the report of a process that lives."""
    held = []

    def write(pid, text):
        lock = (tmp_path / f"process-{pid}.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        held.append(lock)
        (tmp_path / f"health-{pid}.json").write_text(text)
        return lock

    yield write
    for lock in held:
        lock.close()


def test_a_report_is_found_by_its_master(tmp_path, write):
    said = {"dead": None, "unready": "the database is away", "master_pid": 77, "jobs_ended": 3, "retire_signal": 10}
    write(os.getpid(), json.dumps({**said, "something_newer": 1}))
    (report,) = read_reports(tmp_path).values()
    assert read_reports(tmp_path).keys() == {77}
    assert (report.pid, report.unready, report.jobs_ended) == (os.getpid(), "the database is away", 3)
    assert not report.is_retiring and report.done_since_clock is None


def test_reports_of_the_dead_and_what_is_no_report_are_passed_over(tmp_path, write):
    write(os.getpid(), json.dumps({"master_pid": 77})).close()
    assert read_reports(tmp_path) == {}
    for pid, text in enumerate(("", "{", "[1]", "null", '"text"'), 1):
        write(pid, text)
        assert read_reports(tmp_path) == {}


def test_there_are_no_reports_where_there_is_no_folder(tmp_path):
    assert read_reports(tmp_path / "gone") == {}


def test_memory_is_that_of_a_process_that_lives():
    own = rss_bytes(os.getpid())
    assert own is not None and 10_000_000 < own < 10_000_000_000
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert rss_bytes(child.pid) is None
