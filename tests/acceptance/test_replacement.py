"""`callboard work` replaces a process that is too old, too large, has run enough, or hangs; no job is interrupted."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.conftest import wait_until

JOBS = ("tests.acceptance.jobs", "tests.acceptance.process_jobs")
#: `callboard work` that finds a process silent after 4 s in place of a minute, so that the test ends.
IMPATIENT = """\
import callboard.processes.replacement as replacement
replacement.REPORT_OVERDUE_S, replacement.HUNG_PATIENCE_S = 4.0, 1.0
from callboard.cli.main import main
main()
"""


@pytest.fixture
def start(shell, db):
    """Start `callboard work` with so many processes of so many threads."""

    def start(*options, processes=1, threads=1, **environment):
        settings = {"WORKER_PROCESSES": str(processes), "JOB_CONCURRENCY": str(threads), **environment}
        return shell.callboard("work", *JOBS, *options, **settings)

    return start


def registered(db):
    return {pid for (pid,) in db("SELECT pid FROM callboard.workers")}


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def note_until_elsewhere(jobs, pids):
    """Send messages until one ran in a process that is not among those, and return that one's id."""

    def look():
        jobs.send("note_process", "probe")
        return [pid for name, pid in jobs.ran() if name == "probe" and pid not in pids]

    return wait_until(look, 30, "a message in a new process")[0]


def test_a_process_is_replaced_after_its_number_of_messages(start, jobs, db, wait_for_workers):
    work = start("--max-jobs", "3")
    (first,) = wait_for_workers(1)
    # When it has ended two, nothing happens; the third is its last
    for name in ("a", "b"):
        jobs.send("note_process", name)
    wait_until(lambda: len(jobs.ran()) == 2, 30, "two messages")
    assert registered(db) == {first}
    jobs.send("note_process", "c")
    wait_until(lambda: registered(db) and first not in registered(db), 30, "another process")
    assert [pid for _, pid in jobs.ran()] == [first] * 3
    wait_until(lambda: not is_alive(first), what="the end of the first")
    retired = work.wait_for_event("process retires and is replaced")
    assert retired["why"] == "it has ended 3 messages"
    # And nothing of it looks like a fault
    work.wait_for_event("process has retired")
    assert not work.events("process ended and is replaced")
    assert "unexpectedly" not in work.log


def test_a_process_whose_signal_is_taken_by_other_code_retires_at_another(shell, start, wait_for_workers):
    # Given a team's module that listens to SIGUSR1
    (shell.folder / "listens.py").write_text("import signal\nsignal.signal(signal.SIGUSR1, lambda *_: print('mine'))\n")
    work = start("listens", "--max-time", "3")
    (first,) = wait_for_workers(1)
    work.wait_for_event("process has retired")
    assert not is_alive(first)
    # Then the signal is still theirs
    (second,) = wait_for_workers(1)
    os.kill(second, signal.SIGUSR1)
    work.wait_for_text("mine")


def test_a_process_retires_by_hand(start, jobs, wait_for_workers):
    # Given a process that runs a long message
    work = start()
    (first,) = wait_for_workers(1)
    jobs.send("hold", "long")
    jobs.wait_until_runs("long")
    # When a person asks it to, its successor does not wait for the end of that
    os.kill(first, signal.SIGUSR1)
    assert work.wait_for_event("process retires and is replaced")["why"] == "it was asked to"
    note_until_elsewhere(jobs, {first})
    jobs.let_go("long")
    wait_until(lambda: not is_alive(first), 30, "its end")


def test_a_process_is_replaced_at_its_age(start, jobs, db, wait_for_workers):
    start("--max-time", "4")
    (first,) = wait_for_workers(1)
    assert note_until_elsewhere(jobs, {first}) != first
    wait_until(lambda: not is_alive(first), what="the end of the first")
    assert db("SELECT DISTINCT attempt, lost_workers FROM callboard.message_history") == [(1, 0)]


def test_a_process_is_replaced_when_it_is_too_large(start, jobs, db, wait_for_workers):
    # Given a limit that a fresh process keeps
    work = start("--max-rss", "200")
    (first,) = wait_for_workers(1)
    jobs.send("note_process", "small")
    wait_until(jobs.ran, 30, "a message")
    assert registered(db) == {first}
    # When a job leaves more behind than that
    for name in ("large", "larger"):
        jobs.send("grow", name)
    note_until_elsewhere(jobs, {first})
    assert work.wait_for_event("process retires and is replaced")["why"].startswith("it holds ")


def test_a_long_job_survives_the_replacement_of_its_process(start, jobs, db, wait_for_workers, wait_until_done):
    # Given a process with a grace of a second, which runs a long message beside short ones, one that hears of shutdowns
    work = start("--max-jobs", "2", threads=2, WORKER_SHUTDOWN_S="1")
    (first,) = wait_for_workers(1)
    jobs.send("hold_noticing", "long")
    assert jobs.wait_until_runs("long") == first
    for name in ("a", "b"):
        jobs.send("note_process", name)
    work.wait_for_event("process retires and is replaced")
    asked_clock = time.monotonic()
    # Then its successor takes what comes now, while the long one runs on for longer than any grace
    second = note_until_elsewhere(jobs, {first})
    assert second != first
    jobs.send("hold", "other")
    jobs.wait_until_runs("other")
    assert is_alive(first)
    wait_until(lambda: time.monotonic() - asked_clock > 3, what="the end of any grace")
    # And no other is replaced meanwhile, although it has had its number
    for name in ("c", "d", "e"):
        jobs.send("note_process", name)
    wait_until(lambda: {"c", "d", "e"} <= {name for name, _ in jobs.ran()}, 30, "the messages")
    assert len(work.events("process retires and is replaced")) == 1
    jobs.let_go("long")
    wait_until(lambda: not is_alive(first), 30, "the end of the first")
    wait_until(lambda: len(work.events("process retires and is replaced")) == 2, 30, "the next one's turn")
    jobs.let_go("other")
    wait_until(lambda: db("SELECT count(*) FROM dramatiq.queue") == [(0,)], 30, "an empty queue")
    assert db("SELECT DISTINCT attempt, retries, lost_workers FROM callboard.message_history") == [(1, 0, 0)]
    # Nor was it released and begun anew, which counts as no attempt
    assert [path.name for path in jobs.place.glob("long.running.*")] == [f"long.running.{first}"]


def test_processes_that_reach_their_limit_together_go_one_at_a_time(start, jobs, db, wait_for_workers):
    # Given three processes of one age, each with a message that runs on
    work = start("--max-time", "5", processes=3)
    first = wait_for_workers(3)
    for name in ("a", "b", "c"):
        jobs.send("hold", name)
    held = {jobs.wait_until_runs(name): name for name in ("a", "b", "c")}
    assert set(held) == first
    while held:
        going = wait_until(lambda: going_now(work), 30, "a process that goes")
        # Then no other one goes while that has not gone, although all are as old
        if name := held.pop(going, None):
            wait_until(lambda: len(registered(db)) == 4, 30, "its successor")
            jobs.let_go(name)
        wait_until(lambda going=going: going_now(work) != going, 30, "its end")
    assert first.isdisjoint(registered(db))
    assert db("SELECT DISTINCT attempt, lost_workers FROM callboard.message_history") == [(1, 0)]
    lines = [line for line in work.log.splitlines() if "process retires" in line or "process has retired" in line]
    assert all(("process retires" in line) == (number % 2 == 0) for number, line in enumerate(lines)), lines


def going_now(work):
    """Return the process that retires now, or None."""
    begun, ended = work.events("process retires and is replaced"), work.events("process has retired")
    return begun[-1]["pid"] if len(begun) > len(ended) else None


def test_sigterm_during_a_replacement_gives_the_usual_grace(start, jobs, db, wait_for_workers):
    # Given a process that retires with a message which takes longer than the grace
    work = start("--max-jobs", "1", threads=2, WORKER_SHUTDOWN_S="2")
    (first,) = wait_for_workers(1)
    jobs.send("hold", "long")
    jobs.wait_until_runs("long")
    jobs.send("note_process", "a")
    work.wait_for_event("process retires and is replaced")
    wait_for_workers(2)
    # When all is told to end
    work.terminate()
    # Then the message is released at the end of the grace, and counts as no attempt
    assert work.wait() == 0
    assert not is_alive(first) and registered(db) == set()
    assert db("SELECT state, attempt, retries, lost_workers FROM dramatiq.queue") == [("queued", 0, 0, 0)]


def test_a_retiring_process_that_is_killed_loses_its_message_to_another(start, jobs, db, wait_for_workers):
    work = start("--max-jobs", "1", threads=2)
    (first,) = wait_for_workers(1)
    jobs.send("hold", "long")
    jobs.wait_until_runs("long")
    jobs.send("note_process", "a")
    work.wait_for_event("process retires and is replaced")
    wait_for_workers(2)
    # When it dies
    os.kill(first, signal.SIGKILL)
    # Then its successor runs the message, and replacing goes on
    jobs.wait_until_runs("long", elsewhere_than=first)
    work.wait_for_event("process ended before its messages had")
    jobs.let_go("long")
    wait_until(lambda: len(work.events("process retires and is replaced")) >= 2, 30, "the next replacement")
    assert db("SELECT lost_workers FROM callboard.message_history WHERE actor_name = 'hold'") == [(1,)]


def test_a_process_whose_interpreter_is_held_is_replaced(shell, jobs, db, wait_for_workers):
    # Given two processes, and a message that no exception reaches and that lets no other thread run
    hung = jobs.send("hold_interpreter", "hung")
    names = [f"n{number}" for number in range(20)]
    settings = {"WORKER_PROCESSES": "2", "JOB_CONCURRENCY": "2"}
    work = shell.start(sys.executable, "-c", IMPATIENT, "work", *JOBS, **settings)
    wait_until(jobs.ran, 30, "the message that hangs")
    for name in names:
        jobs.send("note", name)
    # Then the process is replaced, its neighbours are run, and the message ends as one dead letter
    wait_until(lambda: db("SELECT 1 FROM callboard.dead_letters"), 120, "the dead letter")
    assert db("SELECT message_id::text, reason, lost_workers FROM callboard.dead_letters") == [(hung, "lost_worker", 3)]
    wait_until(lambda: db("SELECT count(*) FROM dramatiq.queue") == [(0,)], 30, "an empty queue")
    assert set(jobs.noted()) == set(names)
    hanging = work.events("process hangs and is replaced")
    assert len(hanging) == 3 and all("it has not reported for" in event["why"] for event in hanging)
    assert all(not is_alive(pid) for _, pid in jobs.ran())
    # And all is well again
    assert len(wait_for_workers(2)) == 2


def test_a_process_that_lost_a_thread_is_replaced_after_its_neighbours(start, jobs, db, wait_for_workers):
    """An exception that is thrown into a thread outside of any message ends it, and nobody else would notice."""
    work = start(threads=2)
    (first,) = wait_for_workers(1)
    jobs.send("hold", "neighbour")
    jobs.wait_until_runs("neighbour")
    jobs.send("end_a_thread", "x")
    work.wait_for_event("process hangs and is replaced")
    assert is_alive(first)
    jobs.let_go("neighbour")
    wait_until(lambda: not is_alive(first), 30, "its end")
    wait_until(lambda: registered(db) and first not in registered(db), 30, "another process")
    assert db("SELECT attempt FROM callboard.message_history WHERE actor_name = 'hold'") == [(1,)]


def test_a_database_that_is_away_replaces_no_process(start, jobs, db, wait_for_workers):
    work = start("--max-jobs", "1000")
    pids = wait_for_workers(1)
    db(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    jobs.send("note_process", "after")
    wait_until(jobs.ran, 30, "a message")
    assert registered(db) == pids
    assert not work.events("process hangs and is replaced")
