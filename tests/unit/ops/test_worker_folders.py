"""Who lives in a folder of worker processes: told by locks, whatever becomes of the numbers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from callboard.errors import ConfigurationError
from callboard.processes import folders as worker_folders
from callboard.processes.folders import forget_dead, lives_in, living, make_folder
from callboard.processes.reports import read_reports
from tests.conftest import wait_until

#: Joins a folder, says which, and lives until its stdin ends; with "fork" a child of its stays behind.
RESIDENT = """
import os, sys, time
from pathlib import Path
from callboard.processes.folders import join_folder
place = join_folder(Path(sys.argv[1]) if sys.argv[1] else None)
if "fork" in sys.argv and os.fork() == 0:
    time.sleep(60)
print(place, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A temporary folder of the test's own, for it and its children; its locks end with it."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = dict(worker_folders._held)
    yield place
    for path in worker_folders._held.keys() - before.keys():
        os.close(worker_folders._held.pop(path))


@pytest.fixture
def resident():
    """Start processes that live in a folder."""
    started = []

    def start(place="", *options):
        process = subprocess.Popen(
            [sys.executable, "-c", RESIDENT, str(place), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        process.place = Path(process.stdout.readline().decode().strip())
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_process_lives_in_its_folder_until_its_death(tmp_path, resident):
    process = resident(tmp_path)
    assert living(tmp_path) == [process.pid] and lives_in(tmp_path)
    process.kill()
    # Not reaped yet: a zombie has a number, and no lock
    wait_until(lambda: living(tmp_path) == [], what="its end")
    assert process.returncode is None
    os.kill(process.pid, 0)
    assert not lives_in(tmp_path)


def test_a_number_that_is_a_strangers_by_now_does_not_live(tmp_path):
    # Given what a dead process left behind, whose number is this test's
    (tmp_path / f"process-{os.getpid()}.lock").touch()
    (tmp_path / f"health-{os.getpid()}.json").write_text('{"master_pid": 1}')
    assert living(tmp_path) == [] and read_reports(tmp_path) == {}


def test_a_forked_child_does_not_keep_its_dead_parent_alive(tmp_path, resident):
    process = resident(tmp_path, "fork")
    process.kill()
    wait_until(lambda: living(tmp_path) == [], what="its end")
    os.killpg(process.pid, 9)


def test_the_dead_are_forgotten_but_for_what_they_counted(tmp_path, resident):
    alive, dead = resident(tmp_path), resident(tmp_path)
    names = ["health-{}.json", "gauge_livesum_{}.db", "counter_{}.db"]
    for process in (alive, dead):
        for name in names:
            (tmp_path / name.format(process.pid)).touch()
    dead.kill()
    wait_until(lambda: living(tmp_path) == [alive.pid], what="its end")
    forget_dead(tmp_path)
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert left == {
        f"counter_{dead.pid}.db",
        f"process-{alive.pid}.lock",
        *(name.format(alive.pid) for name in names),
    }


def test_processes_of_one_master_share_a_folder(resident):
    first, second = resident(), resident()
    assert first.place == second.place
    assert sorted(living(first.place)) == sorted([first.pid, second.pid])


def test_each_supervisor_has_a_folder_of_its_own(temporary):
    first, second = make_folder(), make_folder()
    assert first != second and first.parent == second.parent == temporary / f"callboard-workers-{os.geteuid()}"
    assert (first.stat().st_mode & 0o777, first.parent.stat().st_mode & 0o777) == (0o700, 0o700)


def test_abandoned_folders_are_removed_and_no_others(resident):
    # Given the folder of a process that lives and one of a process that died, both with files
    alive, dead = resident(make_folder()), resident()
    (dead.place / "counter_1.db").touch()
    (alive.place / "counter_1.db").touch()
    os.close(worker_folders._held.pop(alive.place))
    dead.kill()
    wait_until(lambda: not lives_in(dead.place), what="its end")
    make_folder()
    assert not dead.place.exists() and (alive.place / "counter_1.db").exists()


def test_a_master_with_the_number_of_a_dead_one_begins_with_an_empty_folder(resident):
    dead = resident()
    (dead.place / "counter_1.db").touch()
    dead.kill()
    wait_until(lambda: not lives_in(dead.place), what="its end")
    assert resident().place == dead.place
    assert not (dead.place / "counter_1.db").exists()


def test_a_folder_that_a_team_chose_is_never_emptied(tmp_path, resident):
    (tmp_path / "counter_1.db").touch()
    resident(tmp_path)
    assert (tmp_path / "counter_1.db").exists()


def test_a_folder_of_somebody_else_is_refused(temporary):
    (temporary / "theirs").mkdir()
    (temporary / f"callboard-workers-{os.geteuid()}").symlink_to(temporary / "theirs")
    with pytest.raises(ConfigurationError, match="belongs to somebody else"):
        make_folder()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_temporary_folder_that_cannot_be_written_is_named_with_what_to_do(monkeypatch, temporary, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number), str(temporary))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(ConfigurationError, match=f"{temporary}: {os.strerror(number)}.*TMPDIR"):
        make_folder()


def test_no_temporary_folder_at_all_is_a_sentence(monkeypatch):
    def refuse():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", refuse)
    with pytest.raises(ConfigurationError, match=r"No usable temporary directory.*TMPDIR"):
        make_folder()


def test_a_number_that_lives_already_is_refused(monkeypatch, tmp_path, resident):
    # Given two containers with one PROMETHEUS_MULTIPROC_DIR, in which the same number lives
    process = resident(tmp_path)
    monkeypatch.setattr(worker_folders, "LOCK_PATIENCE_S", 0.1)
    monkeypatch.setattr("os.getpid", lambda: process.pid)
    with pytest.raises(ConfigurationError, match="PROMETHEUS_MULTIPROC_DIR"):
        worker_folders.join_folder(tmp_path)


def test_a_lock_that_is_looked_at_can_be_had_a_moment_later(tmp_path):
    began = time.monotonic()
    assert worker_folders.hold(tmp_path / "a.lock", patience_s=5)
    assert not _had_elsewhere(tmp_path / "a.lock")
    assert time.monotonic() - began < 5


def _had_elsewhere(file):
    code = "from pathlib import Path; from callboard.processes.folders import hold; print(hold(Path(sys.argv[1])))"
    code = f"import sys; {code}"
    return subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, check=True).stdout == b"True\n"
