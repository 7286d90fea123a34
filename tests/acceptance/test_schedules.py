"""`callboard schedules` beside real workers, and workers that refuse a wrong schedule."""

from __future__ import annotations

import json
import sys

import pytest

from tests.conftest import wait_until

WRONG = """
import actors
from callboard import schedule
from callboard.app import actor


@schedule("night", cron="0 25 * * *", timezone="Europe/Moskau")
@actor(queue_name="jobs")
def tidy_up():
    pass
"""


@pytest.fixture
def worker(shell, db, wait_for_workers):
    """A worker of the service, whose own schedules nobody paused, but for the minutely one."""
    db("DELETE FROM callboard.schedules WHERE schedule_name <> 'roll-up'")
    worker = shell.dramatiq("actors")
    wait_for_workers(1)
    wait_until(lambda: db("SELECT count(*) FROM callboard.schedule_declarations") == [(2,)], what="the declarations")
    return worker


def test_the_services_own_schedules_are_listed_paused_run_and_resumed(shell, worker, db):
    # Given a running worker, its schedules are listed
    listed = shell.run_callboard("schedules", "list")
    assert listed.returncode == 0 and listed.stderr == ""
    purge, roll_up = listed.stdout.splitlines()[1:]
    assert purge.split()[:9] == ["purge-expired", "17", "*", "*", "*", "*", "UTC", "purge_expired", "maintenance"]
    assert " in " in purge and roll_up.rstrip().endswith("paused")
    assert shell.run_callboard("schedules", "list", "-o", "ids").stdout.split() == ["purge-expired", "roll-up"]
    # When one is run by hand, the worker runs its message, paused or not
    done = shell.run_callboard("schedules", "run", "roll-up", "--reason", "figures for the board")
    assert done.returncode == 0
    (message_id,) = done.stdout.split()
    ended = "SELECT outcome FROM callboard.message_history WHERE message_id = %s"
    wait_until(lambda: db(ended, message_id) == [("done",)], 20, "the run")
    assert db("SELECT count(*) FROM callboard.throughput_progress") == [(1,)]
    # When one is resumed and another paused, both stand so in the list and in the audit log
    resumed = shell.run_callboard("schedules", "resume", "roll-up")
    assert (resumed.returncode, resumed.stdout) == (0, "roll-up\n")
    paused = shell.run_callboard("schedules", "pause", "purge-expired", "roll-up")
    assert (paused.returncode, paused.stdout) == (0, "purge-expired\nroll-up\n")
    again = shell.run_callboard("schedules", "pause", "roll-up")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "roll-up was paused already.\n")
    rows = json.loads(shell.run_callboard("schedules", "list", "-o", "json").stdout)
    assert [(row["name"], row["is_paused"], row["is_declared"]) for row in rows] == [
        ("purge-expired", True, True),
        ("roll-up", True, True),
    ]
    assert db("SELECT action, count, reason FROM callboard.audit_log ORDER BY audit_id") == [
        ("schedules run", 1, "figures for the board"),
        ("schedules resume", 1, None),
        ("schedules pause", 2, None),
    ]


def test_without_a_worker_that_declares_it_a_schedule_is_listed_as_such(shell):
    listed = shell.run_callboard("schedules", "list")
    assert listed.returncode == 0
    assert listed.stdout.count("not declared") == 2
    assert "No living worker declares purge-expired, roll-up" in listed.stderr


def test_a_queue_without_a_worker_is_named(shell, db, wait_for_workers):
    db("DELETE FROM callboard.schedules WHERE schedule_name = 'purge-expired'")
    shell.callboard("work", "--queues", "emails")
    wait_for_workers(1)
    wait_until(lambda: db("SELECT count(*) FROM callboard.schedule_declarations") == [(2,)], what="the declarations")
    listed = shell.run_callboard("schedules", "list")
    assert "No worker serves queue 'maintenance': what purge-expired sends waits there." in listed.stderr


@pytest.mark.parametrize("verb", ["run", "pause", "resume"])
def test_an_unknown_name_lists_the_known_ones(shell, db, verb):
    done = shell.run_callboard("schedules", verb, "rollup")
    assert (done.returncode, done.stdout) == (3, "")
    assert "No schedule is named 'rollup'. There are: purge-expired, roll-up." in done.stderr
    db("DELETE FROM callboard.schedules")
    none = shell.run_callboard("schedules", verb, "rollup")
    assert (none.returncode, "no worker has declared any yet" in none.stderr) == (3, True)
    assert shell.run_callboard("schedules", "list").returncode == 3


@pytest.mark.parametrize(
    "command",
    [["dramatiq", "actors", "wrong_schedule", "--processes", "1"], ["callboard.cli", "work", "wrong_schedule"]],
)
def test_a_worker_with_a_wrong_schedule_does_not_start_and_says_why(shell, db, command):
    (shell.folder / "wrong_schedule.py").write_text(WRONG)
    worker = shell.start(sys.executable, "-m", *command)
    assert worker.wait() == 2
    assert "Schedule 'night' has cron '0 25 * * *', which is no cron expression (bad hour)" in worker.log
    assert "Schedule 'night' has timezone 'Europe/Moskau'" in worker.log
    assert "Traceback" not in worker.log
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]
