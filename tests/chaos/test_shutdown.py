"""Workers that are told to end: nothing is lost, nothing waits, nothing is counted as an attempt."""

from __future__ import annotations

import time

import pytest

from tests.conftest import wait_until


def test_on_sigterm_what_runs_ends_in_time_and_the_rest_starts_elsewhere_at_once(on_stage, is_long):
    run_s = 10 if is_long else 2
    with on_stage("C-15 SIGTERM in the middle of work") as stage:
        # Given a worker with jobs that end within its grace and one that does not, and another worker beside it
        [leaving] = stage.work(1, threads=4, shutdown_s=run_s + 2)
        stage.send("pay", 3, run_s=run_s)
        [endless] = stage.send("hold", name="endless")
        stage.wait_for_runs(lambda run: run.pid == leaving.pid, 4)
        stage.work(1, threads=4)
        # When it is told to end
        leaving.process.terminate()
        told = time.monotonic()
        leaving.process.wait_for_event("worker is stopping")
        late = stage.send("note", 4)
        stage.wait_for_end(leaving, told)
        left = time.monotonic()
        # Then what was sent meanwhile, and what did not end in time, runs elsewhere
        [second] = stage.wait_for_runs(lambda run: run.message_id == endless and run.pid != leaving.pid)
        stage.let_go("endless")
        stage.finish()
        # And that at once, without an attempt counted
        assert second.began - left < 2
        runs = stage.journal.runs()
        assert all(run.pid != leaving.pid for run in runs if run.message_id in late)
        assert stage.db("SELECT count(*) FROM callboard.attempts") == [(0,)]
        assert stage.db("SELECT DISTINCT attempt FROM callboard.message_history") == [(1,)]
        assert [run.pid for run in runs if run.actor == "pay"] == [leaving.pid] * 3


def test_a_second_sigterm_hands_back_what_runs_and_leaves(on_stage):
    with on_stage("C-15 SIGTERM, twice") as stage:
        # Given a worker with jobs that do not end within anybody's patience, and another worker beside it
        [leaving] = stage.work(1, threads=2, shutdown_s=300)
        held = stage.send("hold", name="endless") + stage.send("pay_when", name="endless")
        stage.wait_for_runs(lambda run: run.pid == leaving.pid, 2)
        stage.work(1, threads=2)
        leaving.process.terminate()
        leaving.process.wait_for_event("worker is stopping")
        # When it is told a second time, a while later: two signals in one moment are one, sent to a process group
        told_again_at = time.monotonic() + 1
        wait_until(lambda: time.monotonic() > told_again_at)
        leaving.process.terminate()
        told = time.monotonic()
        # Then what it ran starts elsewhere at once, and it leaves
        taken = stage.wait_for_runs(lambda run: run.message_id in held and run.pid != leaving.pid, 2)
        stage.wait_for_end(leaving, told, grace_s=15, code_expected=1)
        stage.let_go("endless")
        stage.finish()
        assert max(run.began for run in taken) - told < 5
        # And that was not an attempt
        assert stage.db("SELECT count(*) FROM callboard.attempts") == [(0,)]
        assert stage.db("SELECT DISTINCT attempt FROM callboard.message_history") == [(1,)]


@pytest.mark.chaos_long
def test_workers_are_replaced_one_by_one_under_load(on_stage):
    count, rate = 3000, 100
    with on_stage("C-16 rolling restart of three workers") as stage:
        # Given three workers under load
        workers = stage.work(3, threads=2)
        producer = stage.produce("pay", "note", rate=rate, count=count, run_s=0.02)
        stage.wait_for_runs(lambda _: True, 10)
        told = []
        for number, worker in enumerate(workers):
            # When each is replaced, the database being a version ahead of the code from the second on
            stage.work(1, threads=2)
            worker.process.terminate()
            told.append(time.monotonic())
            if number == 0:
                stage.db("UPDATE callboard.schema_version SET version_num = '9999'")
        for worker, told_at in zip(workers, told, strict=True):
            stage.wait_for_end(worker, told_at)
        wait_until(lambda: producer.popen.poll() == 0, 120, "the end of the load")
        stage.finish()
        # Then nothing failed, nothing ran twice, and nothing waited long
        assert stage.db("SELECT count(*) FROM callboard.attempts") == [(0,)]
        assert len(stage.journal.runs()) == count
        [(wait_s,)] = stage.db(
            "SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - available_at)) "
            "FROM callboard.message_history"
        )
        assert wait_s < 5
