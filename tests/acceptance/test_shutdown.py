"""The end of a worker, by both start commands: one SIGTERM drains, a second one leaves; nothing counts as an attempt.

The times are printed (pytest -s); the bounds are wide, because other processes share the machine.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.conftest import wait_until

JOBS = "tests.acceptance.jobs"
#: The promise is 2 s.
ELSEWHERE_S = 5


@pytest.fixture(params=["dramatiq", "work"])
def start_worker(request, shell):
    """Start one worker process with two threads by each of the two commands."""

    def start(grace_s):
        if request.param == "dramatiq":
            return shell.dramatiq(JOBS, shutdown_ms=grace_s * 1000)
        settings = {"WORKER_PROCESSES": "1", "JOB_CONCURRENCY": "2", "WORKER_SHUTDOWN_S": str(grace_s)}
        return shell.callboard("work", JOBS, **settings)

    return start


def say(text):
    print(text)  # noqa: T201 - measured times, for people


def sessions(db, kind):
    return db("SELECT pid FROM pg_stat_activity WHERE application_name = %s", f"callboard {kind}")


def test_a_running_message_finishes_and_the_rest_starts_elsewhere(
    start_worker, jobs, db, wait_for_workers, wait_until_done
):
    # Given a worker that runs two messages, and another one that idles
    ends = start_worker(grace_s=4)
    wait_for_workers(1)
    for name in ("finishes", "too-long"):
        jobs.send("hold", name)
    pid = jobs.wait_until_runs("finishes")
    assert jobs.wait_until_runs("too-long") == pid
    start_worker(grace_s=4)
    wait_for_workers(2)
    # When it is told to end
    told_clock = time.monotonic()
    ends.terminate()
    # Then it claims nothing more from then on
    wait_until(lambda: len(sessions(db, "intake")) == 1, what="the end of its intake")
    say(f"\nclaims nothing {time.monotonic() - told_clock:.2f} s after SIGTERM")
    # And what ends within the grace is done, what does not starts elsewhere
    jobs.let_go("finishes")
    wait_until_done(1)
    jobs.wait_until_runs("too-long", elsewhere_than=pid)
    late_s = time.monotonic() - told_clock - 4
    say(f"runs elsewhere {late_s:.2f} s after the end of the grace")
    assert late_s < ELSEWHERE_S
    assert ends.wait() == 0
    say(f"exits 0, {time.monotonic() - told_clock - 4:.2f} s after the end of the grace")
    jobs.let_go("too-long")
    wait_until_done(2)
    # And neither of them was an attempt, or a lost worker
    assert db("SELECT DISTINCT attempt, retries, lost_workers FROM callboard.message_history") == [(1, 0, 0)]
    assert db("SELECT count(*) FROM callboard.attempts") == [(0,)]


def test_a_second_sigterm_releases_and_leaves_at_once(start_worker, jobs, db, wait_for_workers, wait_until_done):
    # Given a worker that drains for longer than anybody wants to wait
    leaves = start_worker(grace_s=120)
    wait_for_workers(1)
    for name in ("a", "b"):
        jobs.send("hold", name)
    pid = jobs.wait_until_runs("a")
    assert jobs.wait_until_runs("b") == pid
    leaves.terminate()
    leaves.wait_for_event("worker is stopping")
    start_worker(grace_s=120)
    wait_for_workers(2)
    # When it is told again
    told_clock = time.monotonic()
    leaves.terminate()
    # Then its messages run elsewhere
    for name in ("a", "b"):
        jobs.wait_until_runs(name, elsewhere_than=pid)
    elsewhere_s = time.monotonic() - told_clock
    say(f"\nruns elsewhere {elsewhere_s:.2f} s after the second SIGTERM")
    assert elsewhere_s < ELSEWHERE_S
    # And it leaves, saying that it was not let finish
    assert leaves.wait(15) == 1
    say(f"exits 1, {time.monotonic() - told_clock:.2f} s after the second SIGTERM")
    for name in ("a", "b"):
        jobs.let_go(name)
    wait_until_done(2)
    assert db("SELECT DISTINCT attempt, retries, lost_workers FROM callboard.message_history") == [(1, 0, 0)]
    assert db("SELECT count(*) FROM callboard.attempts") == [(0,)]
    assert len(wait_for_workers(1)) == 1


def test_a_signal_to_the_whole_process_group_is_one_signal(start_worker, jobs, db, wait_for_workers, wait_until_done):
    # Given a worker that a service manager stops as a group: its processes hear the signal twice and more
    worker = start_worker(grace_s=30)
    wait_for_workers(1)
    jobs.send("hold", "a")
    child = jobs.wait_until_runs("a")
    # When all of them are told within a moment
    for pid in (worker.pid, child):
        os.kill(pid, signal.SIGTERM)
    worker.wait_for_event("worker is stopping")
    jobs.let_go("a")
    # Then the running message finishes all the same
    wait_until_done(1)
    assert worker.wait() == 0
