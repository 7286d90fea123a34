"""What a running stack tells the other commands of its folder, and what is left of one that was killed."""

from __future__ import annotations

import pytest

from callboard.settings.announced import ANNOUNCED_FILE, announced, read_announced
from callboard.settings.sources import read_sources

STACK = {
    "SMTP_PORT": "1025",
    "API_TOKEN": "told",
    "LOG_FORMAT": "json",
    "DATABASE_URL": "postgresql://x",
    "SMTP_USER": "",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_other_commands_use_what_a_stack_runs_with_while_it_runs(folder):
    with announced(folder, STACK):
        assert read_announced() == {"SMTP_PORT": "1025", "API_TOKEN": "told"}
        reading = read_sources(["SMTP_PORT", "API_TOKEN"], ".env", {"API_TOKEN": "own"})
        assert reading.values == {"SMTP_PORT": "1025", "API_TOKEN": "own"}
        assert str(reading.origins["SMTP_PORT"]) == f"SMTP_PORT in {ANNOUNCED_FILE}"
    assert read_announced() == {} and not ANNOUNCED_FILE.exists()


def test_env_wins_over_a_stack(folder):
    (folder / ".env").write_text("SMTP_PORT=2525\n")
    with announced(folder, STACK):
        assert read_sources(["SMTP_PORT"], ".env", {}).values == {"SMTP_PORT": "2525"}


def test_what_a_killed_stack_left_behind_says_nothing(folder):
    ANNOUNCED_FILE.parent.mkdir()
    ANNOUNCED_FILE.write_text('{"SMTP_PORT": "1025"}')
    assert read_announced() == {}
    with announced(folder, {"SMTP_PORT": "1026"}):
        assert read_announced() == {"SMTP_PORT": "1026"}


def test_of_two_stacks_in_a_folder_the_first_is_told_of(folder):
    with announced(folder, {"SMTP_PORT": "1"}):
        with announced(folder, {"SMTP_PORT": "2"}):
            assert read_announced() == {"SMTP_PORT": "1"}
        assert read_announced() == {"SMTP_PORT": "1"}


def test_the_file_is_its_owners_alone(folder):
    with announced(folder, STACK):
        assert ANNOUNCED_FILE.stat().st_mode & 0o077 == 0
