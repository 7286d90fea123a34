"""A message that nothing can interrupt costs its process, and its neighbours nothing."""

from __future__ import annotations

from tests.conftest import wait_until

JOBS = "tests.acceptance.jobs"
EXIT_STUCK = 70


def test_a_blocked_message_is_reported_and_its_process_replaced_without_its_neighbours(
    shell, jobs, db, wait_for_workers, wait_until_done
):
    # Given a process that runs three messages, one of which blocks for ever
    settings = {"WORKER_PROCESSES": "1", "JOB_CONCURRENCY": "3", "WORKER_SHUTDOWN_S": "15"}
    work = shell.callboard("work", JOBS, **settings)
    [pid] = wait_for_workers(1)
    for name in ("finishes", "too-long"):
        jobs.send("hold", name)
        assert jobs.wait_until_runs(name) == pid
    stuck = jobs.send("block", "stuck")
    assert jobs.wait_until_runs("stuck") == pid
    # When that is far beyond its time limit
    report = work.wait_for_event("message runs far beyond its time limit")
    work.wait_for_event("worker is stopping")
    # Then its successor does not wait for its end
    jobs.send("hold", "meanwhile")
    assert jobs.wait_until_runs("meanwhile") != pid
    assert not work.events("process ended before its messages had")
    jobs.let_go("meanwhile")
    jobs.let_go("finishes")
    # And one line names it
    assert (report["level"], report["message_id"], report["actor"]) == ("error", stuck, "block")
    assert report["run_s"] >= 1
    # And another process takes over, with what did not end within the grace as if it had never run
    assert jobs.wait_until_runs("too-long", elsewhere_than=pid)
    assert work.wait_for_event("process ended before its messages had")["code"] == EXIT_STUCK
    jobs.let_go("too-long")
    wait_until_done(3)
    assert db("SELECT DISTINCT attempt, retries, lost_workers FROM callboard.message_history") == [(1, 0, 0)]
    # And the blocked one has lost its worker, each time that it runs, until it is a dead letter
    wait_until(lambda: db("SELECT 1 FROM callboard.dead_letters"), 60, "the dead letter")
    assert db("SELECT message_id::text, reason, attempt, retries, lost_workers FROM callboard.dead_letters") == [
        (stuck, "lost_worker", 3, 0, 3)
    ]
    attempts = db("SELECT outcome, error_class, error_message FROM callboard.attempts ORDER BY attempt")
    assert [row[:2] for row in attempts] == [("lost", "TimeLimitExceeded")] * 3
    assert all("its time limit is 0.5 s" in row[2] for row in attempts)
    assert jobs.noted() == ["stuck"] * 3
    causes = db("SELECT end_cause, count(*) FROM callboard.worker_history WHERE ended_at IS NOT NULL GROUP BY 1")
    assert causes == [("died", 3)]


def test_under_dramatiqs_own_command_the_master_ends_with_the_same_code(shell, jobs, db):
    worker = shell.dramatiq(JOBS, threads=1, shutdown_ms=2_000)
    stuck = jobs.send("block", "stuck")
    jobs.wait_until_runs("stuck")
    assert worker.wait() == EXIT_STUCK
    assert len(worker.events("message runs far beyond its time limit")) == 1
    # And the message is still that worker's, to be found by the next leader
    assert db("SELECT message_id::text, state, attempt FROM dramatiq.queue") == [(stuck, "running", 1)]
    assert shell.left() == []


def test_a_second_signal_meanwhile_leaves_at_once_and_hands_the_neighbours_back(shell, jobs, db):
    # Given a process that is being replaced, and waits for a neighbour
    worker = shell.dramatiq(JOBS, threads=2, shutdown_ms=30_000)
    jobs.send("hold", "neighbour")
    jobs.wait_until_runs("neighbour")
    jobs.send("block", "stuck")
    worker.wait_for_event("worker is stopping")
    # When somebody tells it again and again to end

    def tell():
        worker.terminate()
        return worker.popen.poll() is not None

    # Then it does
    wait_until(tell, 15, "its end")
    assert worker.wait() != 0
    assert db("SELECT message #>> '{kwargs,name}', state, attempt FROM dramatiq.queue ORDER BY 1") == [
        ("neighbour", "queued", 0),
        ("stuck", "running", 1),
    ]
