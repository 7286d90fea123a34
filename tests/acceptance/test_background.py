"""`callboard start`, `stop`, `restart`, `logs` and `processes`: old habits, with a real worker in the background."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from callboard.processes.background import worker as background
from tests.conftest import wait_until

JOBS = "tests.acceptance.jobs"
SETTINGS = {"WORKER_PROCESSES": "2", "JOB_CONCURRENCY": "1", "WORKER_SHUTDOWN_S": "20"}


@pytest.fixture
def run(shell):
    """Run a command in the folder of the background worker, which the fixture of `shell` ends."""

    def run(*arguments, code=0, **settings):
        done = shell.run_callboard(*arguments, **{**SETTINGS, **settings})
        assert done.returncode == code, done.stderr
        return done

    return run


def pid_of(shell):
    return int((shell.folder / background.PID_FILE).read_text())


def listed(run):
    return json.loads(run("processes", "-o", "json").stdout)


def test_a_worker_is_started_looked_at_and_stopped(run, shell, jobs, db, wait_for_workers):
    # When it is started
    begun = run("start", JOBS)
    assert f"Started callboard work {JOBS} (pid {pid_of(shell)})" in begun.stderr
    # Then the command has ended, and the worker works
    workers = wait_for_workers(2)
    jobs.send("note", "a")
    wait_until(jobs.noted, 30, "the message")
    # And the list shows what runs here
    wait_until(lambda: [row["state"] for row in listed(run)] == ["running", "ready", "ready"], 30, "all ready")
    rows = listed(run)
    assert [row["role"] for row in rows] == ["supervisor", "worker", "worker"]
    assert {row["pid"] for row in rows[1:]} == workers and rows[0]["pid"] == pid_of(shell)
    assert all(row["rss_bytes"] > 10_000_000 for row in rows)
    wait_until(lambda: sum(row["messages_ended"] or 0 for row in listed(run)) == 1, 30, "the message counted")
    assert "process" in run("processes").stdout and " MB" in run("processes").stdout
    # And its logs tell of it
    assert '"message done"' in run("logs").stdout
    assert '"message done"' in (shell.folder / "logs" / "out.log").read_text()
    # When it is stopped while a message runs
    jobs.send("hold", "long")
    jobs.wait_until_runs("long")
    stopping = shell.callboard("stop", **SETTINGS)
    wait_until(lambda: "worker is stopping" in run("logs").stdout, 30, "the end begun")
    jobs.let_go("long")
    # Then that one finishes, and nothing is left
    assert stopping.wait() == 0
    assert "has ended, after" in stopping.log
    assert db("SELECT count(*) FROM callboard.message_history WHERE outcome = 'done'") == [(2,)]
    assert shell.left() == []
    assert "No background worker runs in this folder." in run("stop").stderr
    assert run("processes", "-o", "ids").stdout == ""


def test_a_second_start_says_that_it_runs_already(run, shell, wait_for_workers):
    run("start")
    before = wait_for_workers(2)
    pid = pid_of(shell)
    again = run("start")
    assert f"It runs already: callboard work (pid {pid})" in again.stderr
    assert (pid_of(shell), wait_for_workers(2)) == (pid, before)


def test_of_two_starts_at_once_one_wins(run, wait_for_workers):
    said = []
    starts = [threading.Thread(target=lambda: said.append(run("start").stderr)) for _ in range(3)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert sum("Started" in text for text in said) == 1
    assert sum("It runs already" in text for text in said) == 2
    assert len(wait_for_workers(2)) == 2


def test_a_pid_file_of_another_program_is_no_worker(run, shell, wait_for_workers):
    # Given the file of a worker that ended without a word, whose number the machine has given to another program
    path = shell.folder / background.PID_FILE
    path.parent.mkdir()
    path.write_text(f"{os.getpid()}\n")
    # Then nobody takes that for it, and least of all ends it
    assert "No background worker runs" in run("stop").stderr
    assert listed(run) == []
    assert "Started" in run("start").stderr
    assert len(wait_for_workers(2)) == 2 and pid_of(shell) != os.getpid()


@pytest.mark.parametrize("content", ["", "no number", "999999999\n"])
def test_a_pid_file_with_anything_in_it_does_not_keep_it_from_starting(run, shell, content, wait_for_workers):
    path = shell.folder / background.PID_FILE
    path.parent.mkdir()
    path.write_text(content)
    assert "Started" in run("start", WORKER_PROCESSES="1").stderr
    assert len(wait_for_workers(1)) == 1


def test_a_killed_worker_leaves_no_second_set_of_processes(run, shell, wait_for_workers):
    # Given a supervisor that was killed, whose processes work on
    run("start")
    orphans = wait_for_workers(2)
    wait_until(lambda: len(listed(run)) == 3, 30, "their reports")
    os.kill(pid_of(shell), signal.SIGKILL)
    wait_until(lambda: listed(run) == [], 30, "its end noticed")
    # When it is started again
    run("start")
    # Then they end, and two others work
    wait_until(lambda: orphans.isdisjoint(wait_for_workers(2)), 30, "two others")


def test_a_restart_keeps_the_options(run, shell, wait_for_workers):
    run("start", JOBS, "--queues", "jobs,emails", "--max-jobs", "500")
    before, pid = wait_for_workers(2), pid_of(shell)
    again = run("restart")
    assert f"Background worker {pid} has ended" in again.stderr
    assert f"Started callboard work --queues jobs,emails --max-jobs 500 {JOBS} (pid " in again.stderr
    assert before.isdisjoint(wait_for_workers(2)) and pid_of(shell) != pid


def test_a_worker_that_refuses_to_start_says_why(run, shell, embedded_server):
    # Given a database without the schema
    url = embedded_server.recreate_database(f"bare_{os.getpid()}")
    begun = run("start", code=1, DATABASE_URL=url)
    assert "The background worker ended at once, with exit code 1." in begun.stderr
    assert "callboard db upgrade" in begun.stderr
    assert listed(run) == []


def test_a_worker_whose_database_is_away_is_not_called_started(run, shell, tmp_path):
    # Given no server at the address
    begun = run("start", code=4, WORKER_PROCESSES="1", DATABASE_URL=f"postgresql://postgres@/none?host={tmp_path}")
    # Then it runs, and the command says what it waits for
    assert "works on nothing yet: the database is away" in begun.stderr and "Started" not in begun.stderr
    assert [row["role"] for row in listed(run)] == ["supervisor", "worker"]
    assert "has ended" in run("stop").stderr


def test_a_worker_of_another_container_is_named_and_never_signalled(run, shell, wait_for_workers):
    # Given a worker in the folder, whose numbers were counted elsewhere
    run("start", WORKER_PROCESSES="1")
    wait_for_workers(1)
    path = shell.folder / background.STATE_FILE
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "namespace": "pid:[1]"}))
    for command in ("stop", "start", "processes"):
        assert "runs in another container" in run(command, code=1).stderr
    path.write_text(json.dumps(state))
    assert len(listed(run)) == 2


def test_a_wrong_option_is_refused_before_anything_starts(run, shell):
    assert "--max-jobs must be at least 1" in run("start", "--max-jobs", "0", code=2).stderr
    assert not (shell.folder / background.PID_FILE).exists()


def test_warnings_stand_in_the_error_log_and_both_are_shown_in_order(run, shell, jobs, db, wait_for_workers):
    run("start", JOBS, WORKER_PROCESSES="1")
    jobs.send("refuse", "door")
    wait_until(lambda: db("SELECT 1 FROM callboard.dead_letters"), 30, "the dead letter")
    wait_until(lambda: "dead letter kept" in run("logs").stdout, 30, "the line")
    error_log = (shell.folder / "logs" / "error.log").read_text()
    assert "dead letter kept" in error_log and "worker started" not in error_log
    shown = run("logs", "-n", "200").stdout
    assert shown.index("worker started") < shown.index("dead letter kept")
    assert len(run("logs", "-n", "2").stdout.splitlines()) == 2


def test_logs_are_followed(run, shell, jobs, wait_for_workers):
    run("start", JOBS, WORKER_PROCESSES="1")
    wait_for_workers(1)
    wait_until(lambda: "worker started" in run("logs").stdout, 30, "its first line")
    # When they are followed, then what was written before is seen at once, and what comes
    follower = shell.callboard("logs", "-f")
    follower.wait_for_text("worker started")
    jobs.send("note", "a")
    follower.wait_for_text("message done")
    # When the file is rotated and something happens then
    log = shell.folder / "logs" / "out.log"
    log.rename(log.with_suffix(".log.1"))
    jobs.send("note", "b")
    # Then both lines are seen
    wait_until(lambda: follower.log.count("message done") == 2, 30, "the line in the new file")
    follower.popen.send_signal(signal.SIGINT)
    assert follower.wait() == 0


def test_what_does_not_end_in_time_is_killed(run, shell, jobs, wait_for_workers):
    # Given a supervisor that hears nothing
    run("start", JOBS)
    wait_for_workers(2)
    pid = pid_of(shell)
    os.kill(pid, signal.SIGSTOP)
    # When it is stopped
    stopped = background.stop(Path(shell.folder), timeout_s=0.5)
    # Then it and its processes are gone
    assert stopped is not None and stopped.was_killed and stopped.pid == pid
    wait_until(lambda: shell.left() == [], 30, "their end")
    assert background.background_state(Path(shell.folder)) is None


def test_test_is_the_old_name_of_test_email(run, db):
    assert len(run("test", "you@example.org").stdout.strip()) == 36
    assert db("SELECT message ->> 'actor_name' FROM dramatiq.queue") == [("send_email",)]
