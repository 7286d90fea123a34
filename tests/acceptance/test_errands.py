"""`callboard work --once` and `--stop-when-empty`: work with an end, for cron and for jobs of a cluster."""

from __future__ import annotations

import os
import signal
import socket
import sys

from callboard.db import schema
from callboard.dev.temporary_postgres import temporary_server
from tests.acceptance.processes import Jobs
from tests.conftest import wait_until

JOBS = ("tests.acceptance.jobs", "tests.acceptance.process_jobs")
ONE = {"WORKER_PROCESSES": "1", "JOB_CONCURRENCY": "2"}


def waiting(db):
    return db("SELECT message #>> '{kwargs,name}' FROM dramatiq.queue WHERE state = 'queued' ORDER BY 1")


def test_once_runs_one_of_two_ready_messages(shell, jobs, db):
    # Given two messages that are ready
    for name in ("first", "second"):
        jobs.send("note", name)
    # When one is asked for, with more processes and threads set than that takes
    work = shell.callboard("work", *JOBS, "--once", WORKER_PROCESSES="2", JOB_CONCURRENCY="4")
    # Then the older one is done, and the other one waits
    assert (work.wait(), jobs.noted(), waiting(db)) == (0, ["first"], [("second",)])
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]
    assert shell.left() == []


def test_once_says_that_nothing_is_ready(shell, jobs, db):
    # Given a message that is not due
    jobs.send("note", "later", delay_ms=3_600_000)
    work = shell.callboard("work", *JOBS, "--once")
    assert work.wait() == 0
    assert "Nothing was ready in any queue; no message was run." in work.log
    assert (jobs.noted(), waiting(db)) == ([], [("later",)])


def test_once_counts_a_failure_as_a_run(shell, jobs, db):
    jobs.send("fail_for_now", "early")
    jobs.send("note", "other")
    work = shell.callboard("work", *JOBS, "--once")
    # Then the exit code says that the command did its work; what became of the message is in the database
    assert work.wait() == 0
    assert [name for name, _ in jobs.ran()] == ["early"]
    assert (jobs.noted(), waiting(db)) == ([], [("early",), ("other",)])
    assert "Nothing was ready" not in work.log


def test_once_fails_when_its_process_dies(shell, jobs, db):
    jobs.send("kill_own_process", "poison")
    work = shell.callboard("work", *JOBS, "--once")
    assert work.wait() == 1
    assert "The worker process ended with code" in work.log
    assert jobs.noted() == ["poison"]
    assert shell.left() == []


def test_what_is_ready_is_drained_and_what_is_not_is_left(shell, jobs, db):
    # Given messages that are ready, of which one fails for now and one for good, and a delayed one
    names = [f"n{number}" for number in range(20)]
    for name in names:
        jobs.send("note", name)
    jobs.send("refuse", "door")
    jobs.send("fail_for_now", "early")
    jobs.send("note", "later", delay_ms=3_600_000)
    # When two processes drain the queues
    work = shell.callboard("work", *JOBS, "--stop-when-empty", WORKER_PROCESSES="2", JOB_CONCURRENCY="2")
    # Then they end with everything run that was ready, whatever became of it
    assert work.wait() == 0
    assert sorted(jobs.noted()) == sorted(names)
    assert db("SELECT count(*) FROM callboard.dead_letters") == [(1,)]
    # And what failed for now waits, as does what is not due
    assert [name for name, _ in jobs.ran()] == ["early"]
    assert waiting(db) == [("early",), ("later",)]
    assert shell.left() == []


def test_a_drain_waits_for_what_it_runs(shell, jobs, db):
    # Given a process that is idle while the other one runs a message
    jobs.send("hold", "long")
    work = shell.callboard("work", *JOBS, "--stop-when-empty", WORKER_PROCESSES="2", JOB_CONCURRENCY="1")
    jobs.wait_until_runs("long")
    wait_until(lambda: db("SELECT count(*) FROM callboard.workers") == [(2,)], 30, "both processes")
    # When more comes meanwhile
    jobs.send("note", "late")
    wait_until(jobs.noted, 30, "the late message")
    assert work.popen.poll() is None
    jobs.let_go("long")
    # Then it ends when both have ended
    assert work.wait() == 0
    assert db("SELECT count(*) FROM callboard.message_history WHERE outcome = 'done'") == [(2,)]


def test_two_drains_at_once_are_harmless(shell, jobs, db):
    names = [f"n{number}" for number in range(50)]
    for name in names:
        jobs.send("note", name)
    both = [shell.callboard("work", *JOBS, "--stop-when-empty", **ONE) for _ in range(2)]
    assert [work.wait() for work in both] == [0, 0]
    assert sorted(jobs.noted()) == sorted(names)
    assert db("SELECT DISTINCT attempt, lost_workers FROM callboard.message_history") == [(1, 0)]


def test_a_drain_brings_back_what_its_own_dead_process_ran(shell, jobs, db):
    # Given a message that kills its process each time
    jobs.send("kill_own_process", "poison")
    jobs.send("note", "other")
    work = shell.callboard("work", *JOBS, "--stop-when-empty", **ONE)
    # Then the drain does not end before that is a dead letter
    assert work.wait(120) == 0
    assert db("SELECT reason FROM callboard.dead_letters") == [("lost_worker",)]
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]
    assert "other" in jobs.noted()


def test_the_time_of_a_drain_ends_it_in_order(shell, jobs, db):
    # Given more than its time is for, and a message that runs when it is over
    jobs.send("hold", "long")
    work = shell.callboard(
        "work", *JOBS, "--stop-when-empty", "--max-time", "4", WORKER_PROCESSES="1", JOB_CONCURRENCY="1"
    )
    pid = jobs.wait_until_runs("long")
    for number in range(5):
        jobs.send("note", f"n{number}")
    wait_until(lambda: not intakes(db), 30, "the end of its claiming")
    os.kill(pid, 0)
    jobs.let_go("long")
    # Then that message finishes, the others wait, and it counts as success
    assert work.wait() == 0
    assert db("SELECT outcome, attempt FROM callboard.message_history") == [("done", 1)]
    assert (len(waiting(db)), jobs.noted()) == (5, [])


def intakes(db):
    return db("SELECT pid FROM pg_stat_activity WHERE application_name = 'callboard intake'")


def test_sigterm_ends_a_drain_in_order(shell, jobs, db):
    jobs.send("hold", "long")
    work = shell.callboard("work", *JOBS, "--stop-when-empty", **ONE)
    jobs.wait_until_runs("long")
    work.terminate()
    work.wait_for_event("worker is stopping")
    jobs.let_go("long")
    assert work.wait() == 0
    assert db("SELECT outcome FROM callboard.message_history") == [("done",)]


def test_without_a_database_an_errand_fails_with_a_sentence(shell):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"postgresql://a@127.0.0.1:{listener.getsockname()[1]}/none"
    for option in ("--once", "--stop-when-empty"):
        done = shell.run_callboard("work", option, DATABASE_URL=nobody)
        assert done.returncode == 1
        assert "Postgres cannot be reached" in done.stderr
        assert "Traceback" not in done.stderr


#: `callboard work` that waits 4 s for a process that is ready, in place of 30; from the first message on, as a start
#: on a busy machine takes longer than that.
IMPATIENT = """\
import os, pathlib, threading, time
import callboard.processes.worker_supervisor as supervision
from callboard.cli.main import main

def lose_patience():
    while not any(pathlib.Path(os.environ["PLACE"]).glob("*.running.*")):
        time.sleep(0.02)
    supervision.READY_PATIENCE_S = 4.0

threading.Thread(target=lose_patience, daemon=True).start()
main()
"""


def test_a_database_that_goes_away_for_long_ends_a_drain_with_a_sentence(shell, tmp_path):
    # Given a drain that runs a message
    with temporary_server() as server:
        url = server.recreate_database("gone")
        schema.upgrade(url)
        jobs = Jobs(url, tmp_path / "gone")
        jobs.send("hold", "long")
        settings = {**ONE, "DATABASE_URL": url, "WORKER_SHUTDOWN_S": "3", "PLACE": str(jobs.place)}
        work = shell.start(sys.executable, "-c", IMPATIENT, "work", *JOBS, "--stop-when-empty", **settings)
        jobs.wait_until_runs("long")
        jobs.close()
    # When the database does not come back
    assert work.wait(60) == 1
    # Then it says so, and nothing of it is left
    assert "No worker process was ready for 4 s: the database is away. What is left is kept." in work.log
    assert "Traceback" not in work.log
    assert shell.left() == []


def test_sigkill_of_the_process_while_a_drain_ends_is_made_good(shell, jobs, db):
    # Given a drain whose time is not limited, and a killed process with a message
    jobs.send("hold", "long")
    work = shell.callboard("work", *JOBS, "--stop-when-empty", **ONE)
    pid = jobs.wait_until_runs("long")
    os.kill(pid, signal.SIGKILL)
    # Then another process runs it, and the drain ends after that
    jobs.wait_until_runs("long", elsewhere_than=pid)
    jobs.let_go("long")
    assert work.wait(60) == 0
    assert db("SELECT outcome, lost_workers FROM callboard.message_history") == [("done", 1)]
