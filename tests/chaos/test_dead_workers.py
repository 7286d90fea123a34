"""Processes that die without a word: what they held runs elsewhere, and a poison message takes nobody along."""

from __future__ import annotations

import os
import statistics
import time

import pytest

from tests.chaos.stage import Stage, Worker
from tests.conftest import wait_until

#: What the design promises, s.
TAKEOVER_MAX_S = 5.0
#: Where the message that kills may have killed the one that would have taken over too, so that its successor does, s.
TAKEOVER_OF_TWO_MAX_S = 30.0


def wait_until_locks_count(stage: Stage) -> None:
    """Wait out the first 10 s of a server, in which only heartbeats tell who is dead."""
    wait_until(
        lambda: stage.db("SELECT pg_postmaster_start_time() < now() - interval '10 seconds'") == [(True,)],
        15,
        "10 s of uptime",
    )


def kill_in_the_middle(stage: Stage, name: str) -> None:
    """Kill the worker that runs a message and has a child, and wait until the message runs elsewhere."""
    [message_id] = stage.send("hold_with_child", name=name)
    [run] = stage.wait_for_runs(lambda run: run.message_id == message_id)
    victim = stage.worker_of(run)
    stage.kill(victim)
    stage.wait_for_runs(lambda run: run.message_id == message_id and run.pid != victim.pid, what="the rescue")
    # The child, which never held the lock, still lives: it kept nobody from seeing that its parent is dead.
    for child in stage.journal.children_of(victim.pid):
        os.kill(child, 0)
    stage.let_go(name)


def remark_on_takeovers(stage: Stage) -> float:
    """Report the times and return the slowest, s."""
    seconds = stage.takeovers_s()
    stage.remarks.append(
        f"{len(seconds)} ran elsewhere after {statistics.median(seconds):.1f} s, the slowest after {max(seconds):.1f} s"
    )
    return max(seconds)


@pytest.mark.chaos_long
def test_what_killed_workers_held_runs_elsewhere_within_seconds(on_stage):
    with on_stage("C-01 kill -9 in the middle of work, 30 times") as stage:
        wait_until_locks_count(stage)
        # Given three workers under load
        stage.work(3, threads=4)
        producer = stage.produce("pay", "note", rate=20, run_s=0.1)
        # When one after the other is killed, and replaced
        for number in range(30):
            kill_in_the_middle(stage, f"held-{number}")
            stage.work(1, threads=4)
        producer.terminate()
        producer.wait()
        # Then what it held soon ran elsewhere, and every message ended once
        slowest = remark_on_takeovers(stage)
        stage.finish()
        assert slowest <= TAKEOVER_MAX_S


@pytest.mark.chaos_long
def test_repeated_kills_do_not_keep_the_others_from_their_work(on_stage):
    seconds, pause_s, rate = 120, 20, 60
    with on_stage("C-02 kill -9 every 20 s under load") as stage:
        # Given two workers, each able to carry the load
        stage.work(2, threads=8)
        producer = stage.produce("pay", "note", rate=rate, count=rate * seconds, run_s=0.05)
        # When one is killed every 20 s
        for number in range(1, seconds // pause_s):
            at = stage.began + number * pause_s
            wait_until(lambda at=at: time.monotonic() > at, pause_s + 10)
            stage.kill(next(worker for worker in stage.workers if not worker.is_gone))
            stage.work(1, threads=8)
        wait_until(lambda: producer.popen.poll() == 0, 60, "the end of the load")
        # Then nearly everything is done when the last message is sent
        ended = stage.db("SELECT count(*) FROM callboard.message_history")[0][0]
        stage.remarks.append(f"{ended / (rate * seconds):.1%} were done when the last was sent")
        remark_on_takeovers(stage)
        stage.finish()
        assert ended >= rate * seconds * 0.95


def find_dead(stage: Stage) -> list[Worker]:
    """Return the workers that have died since the last look, and take note of it."""
    dead = [worker for worker in stage.workers if not worker.is_gone and worker.process.popen.poll() is not None]
    for worker in dead:
        stage.note_kill(worker)
    return dead


def test_one_poison_message_among_many_ends_as_one_dead_letter(on_stage, is_long):
    good = 500 if is_long else 100
    with on_stage("C-11 a message that kills its process") as stage:
        wait_until_locks_count(stage)
        # Given a message that takes its process down and leaves a child of it, among many that are fine
        stage.send("note", good // 2, run_s=0.05)
        [poison] = stage.send("kill_own_process", run_s=0.02)
        stage.send("pay", good - good // 2, run_s=0.05)
        # When workers of eight threads run them, each replaced when it dies
        stage.work(2, threads=8)

        def is_given_up() -> bool:
            for _ in find_dead(stage):
                stage.start_worker(threads=8)
            return bool(stage.db("SELECT 1 FROM callboard.dead_letters"))

        wait_until(is_given_up, 90, "the dead letter")
        find_dead(stage)
        # Then it is one dead letter, and every other message is done
        slowest = remark_on_takeovers(stage)
        stage.finish()
        assert stage.kills == 3
        assert stage.db("SELECT message_id::text, reason, lost_workers, attempt FROM callboard.dead_letters") == [
            (poison, "lost_worker", 3, 3)
        ]
        assert stage.db("SELECT count(*) FROM callboard.message_history") == [(good,)]
        # And it took its neighbours along twice at the most: the third time it was alone
        assert stage.db("SELECT max(lost_workers) < 3 FROM callboard.message_history") == [(True,)]
        assert slowest <= TAKEOVER_OF_TWO_MAX_S
