"""`callboard queues pause` and `resume`, under load, with real worker processes."""

from __future__ import annotations

import json

import pytest

from tests.conftest import wait_until

JOBS = "tests.acceptance.jobs"
#: So long that only the doorbell can wake a worker in time.
SELDOM = {"WORKER_INTERVAL_MS": "120000"}
#: A pause holds for everybody from so long after its commit, s.
HOLDS_AFTER_S = 2


@pytest.fixture
def send_many(jobs, db):
    """Store so many messages of a few milliseconds each, in one statement."""

    def send(count, seconds=0.01):
        kwargs = json.dumps({"place": str(jobs.place), "name": "x", "seconds": seconds})
        db(
            "SELECT count(callboard.enqueue('rest', %s::jsonb, queue => 'jobs')) FROM generate_series(1, %s)",
            kwargs,
            count,
        )

    return send


def started_late(db):
    """Return how many messages started later than a pause allows, by the database's clock."""
    statement = (
        "SELECT count(*) FROM callboard.message_history, callboard.queue_controls "
        "WHERE is_paused AND started_at > changed_at + make_interval(secs => %s)"
    )
    return db(statement, HOLDS_AFTER_S)[0][0]


def figures(db):
    [(queued, running)] = db(
        "SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'running') "
        "FROM dramatiq.queue WHERE queue_name = 'jobs'"
    )
    return queued, running


def test_a_pause_holds_for_two_busy_processes_within_two_seconds_and_resume_starts_at_once(
    shell, db, send_many, wait_for_workers, wait_until_done
):
    # Given two worker processes in the middle of many short messages, which they claim ahead
    count = 3_000
    send_many(count, seconds=0.04)
    for _ in range(2):
        shell.dramatiq(JOBS, threads=4, **SELDOM)
    wait_for_workers(2)
    wait_until(lambda: db("SELECT count(DISTINCT worker_id) FROM callboard.message_history") == [(2,)], 30)
    # When an operator pauses the queue
    paused = shell.run_callboard("queues", "pause", "jobs", "--reason", "the disk is full")
    assert (paused.returncode, paused.stdout) == (0, "jobs\n")
    # Then everything that was claimed has ended or gone back, and stays so
    passed = "SELECT now() > changed_at + interval '4 seconds' FROM callboard.queue_controls"
    wait_until(lambda: db(passed) == [(True,)], 30)
    wait_until(lambda: figures(db)[1] == 0, 30)
    assert started_late(db) == 0
    left, _ = figures(db)
    assert left > 0, "everything was done before the pause, so that this shows nothing"
    # And the commands say so
    [queue] = [q for q in json.loads(shell.run_callboard("queues", "list", "-o", "json").stdout) if q["ready"]]
    assert (queue["ready"], queue["pause"]["reason"]) == (left, "the disk is full")
    status = shell.run_callboard("status")
    assert "paused until somebody resumes it" in status.stdout and "callboard queues resume jobs" in status.stdout
    # When he resumes it, then the doorbell wakes the workers, which would look in two minutes otherwise
    assert shell.run_callboard("queues", "resume", "jobs").stdout == "jobs\n"
    wait_until(lambda: figures(db)[0] < left, 10)
    wait_until_done(count)
    actions = "SELECT action, count, reason FROM callboard.audit_log ORDER BY audit_id"
    assert db(actions) == [("queues pause", 1, "the disk is full"), ("queues resume", 1, None)]


def test_a_pause_survives_a_restart_of_the_workers_and_other_queues_go_on(shell, jobs, db, wait_for_workers):
    # Given a paused queue, and no worker
    jobs.send("note", "a")
    assert shell.run_callboard("queues", "pause", "jobs").returncode == 0
    # When a worker starts and does another queue's work
    files = {"EMAIL_PROVIDER": "file"}
    shell.dramatiq("actors", JOBS, **files)
    wait_for_workers(1)
    assert shell.run_callboard("test-email", "ops@example.org", **files).returncode == 0
    wait_until(lambda: db("SELECT queue_name FROM callboard.message_history") == [("emails",)], 30)
    # Then the paused one is untouched
    assert figures(db) == (1, 0)
    assert db("SELECT attempt FROM dramatiq.queue") == [(0,)]


def test_a_pause_until_a_moment_ends_by_itself(shell, jobs, db, wait_for_workers, wait_until_done):
    shell.dramatiq(JOBS, WORKER_INTERVAL_MS="300")
    wait_for_workers(1)
    assert shell.run_callboard("queues", "pause", "jobs", "--until", "3s").returncode == 0
    jobs.send("note", "a")
    wait_until_done(1)
    lasted = "SELECT bool_and(started_at >= paused_until) FROM callboard.message_history, callboard.queue_controls"
    assert db(lasted) == [(True,)]
