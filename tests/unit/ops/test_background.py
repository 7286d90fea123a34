"""Whose number stands in the pid file: nobody is taken for the background worker who is not."""

from __future__ import annotations

import fcntl
import subprocess
import sys

import pytest

from callboard.errors import ConfigurationError, Conflict
from callboard.processes.background import worker as background


@pytest.fixture(autouse=True)
def _impatience(monkeypatch):
    monkeypatch.setattr(background, "KILL_PATIENCE_S", 0.3)


@pytest.fixture
def held(tmp_path):
    """The pid file of tmp_path, its lock held by this test."""
    path = tmp_path / background.PID_FILE
    path.parent.mkdir()
    with path.open("w+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path


def test_a_number_that_leads_no_session_is_not_the_workers(tmp_path, held):
    # Given the number of a program that has nothing to do with it, while somebody is about to start one
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    held.write_text(f"{child.pid}\n")
    assert background.background_state(tmp_path) is None
    assert background.stop(tmp_path, timeout_s=0.1) is None
    assert child.poll() is None
    child.communicate(b"\n")


@pytest.mark.parametrize("text", ["", "0\n", "-1\n", "99999999999999999999\n", "text"])
def test_a_lock_without_a_number_is_reported(tmp_path, held, text):
    held.write_text(text)
    with pytest.raises(Conflict, match="without its number in it"):
        background.start(tmp_path, [], lambda logs, place: {})


def test_where_there_is_no_file_nothing_runs_and_none_is_made(tmp_path):
    assert background.background_state(tmp_path) is None
    assert background.stop(tmp_path, timeout_s=0.1) is None
    assert background.last_arguments(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_reported(tmp_path):
    (tmp_path / ".callboard").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        background.start(tmp_path, [], lambda logs, place: {})


def test_a_broken_state_is_passed_over(tmp_path):
    path = tmp_path / background.STATE_FILE
    path.parent.mkdir()
    for text in ("", "{", "[]", '{"arguments": 5}', '{"arguments": ["a"], "started_at": "x", "place": "y"}'):
        path.write_text(text)
        assert background.last_arguments(tmp_path) == ()
