"""Workers that live and cannot be reached: frozen, partitioned, behind a network that swallows or delays."""

from __future__ import annotations

import os
import signal
import time

import pytest

from callboard.terms import BEAT_OVERDUE_S
from tests.chaos.stage import Stage, Worker
from tests.conftest import wait_until
from tests.postgres.broker.proxy import Proxy

#: What the design promises, s.
TAKEOVER_MAX_S = 30.0


def occupy(stage: Stage, worker: Worker, name: str) -> set[str]:
    """Have the worker, which is the only one, run a message with an effect and one without; return their ids."""
    ids = {*stage.send("pay_when", name=name), *stage.send("hold", name=name)}
    stage.wait_for_runs(lambda run: run.message_id in ids and run.pid == worker.pid, 2)
    return ids


def let_the_silence_pass(stage: Stage, *workers: Worker) -> None:
    """Make the heartbeats as old as they would be after 20 s, as nobody refreshes them."""
    stage.db(
        "UPDATE callboard.workers SET beat_at = beat_at - %s * interval '1 second' WHERE pid = ANY(%s)",
        BEAT_OVERDUE_S,
        [worker.pid for worker in workers],
    )


def test_a_frozen_and_a_partitioned_worker_lose_their_messages_and_come_back(on_stage, database_url, is_long):
    name = "C-06 C-07 one worker frozen, one cut off"
    with Proxy(database_url) as network, on_stage(name) as stage:
        # Given the leader, a worker on a network of its own, each with messages that run, and a third worker
        [frozen] = stage.work(1, threads=2)
        ids = occupy(stage, frozen, "work")
        [cut_off] = stage.work(1, threads=2, url=network.url)
        ids |= occupy(stage, cut_off, "work")
        [third] = stage.work(1, threads=4)
        # When the first is frozen and the second one's packets go nowhere
        os.kill(frozen.pid, signal.SIGSTOP)
        network.is_silent = True
        silent_since = time.monotonic()
        if not is_long:
            let_the_silence_pass(stage, frozen, cut_off)
        # Then the third runs what they held
        taken = stage.wait_for_runs(lambda run: run.message_id in ids and run.pid == third.pid, 4, 45, "the takeover")
        slowest = max(run.began for run in taken) - silent_since
        stage.remarks.append(f"the slowest ran elsewhere after {slowest:.1f} s")
        wait_until(lambda: not is_long or time.monotonic() > silent_since + 60, 60)
        # When both can be reached again
        network.is_silent = False
        os.kill(frozen.pid, signal.SIGCONT)
        # Then whatever they end now changes nothing, while the third still runs it, and is counted
        stage.let_go("work", frozen, cut_off)
        wait_until(lambda: stage.counters()["lost"] == 4, 40, "four lost leases counted")
        assert stage.db("SELECT count(*) FROM dramatiq.queue WHERE state = 'running'") == [(4,)]
        stage.let_go("work")
        wait_until(lambda: stage.db("SELECT count(*) FROM callboard.message_history") == [(4,)], what="their ends")
        # And they go on working: all three are needed to run these at once
        stage.send("hold", 8, name="again")
        again = stage.wait_for_runs(lambda run: run.message_id not in ids, 8)
        assert {run.pid for run in again} == {frozen.pid, cut_off.pid, third.pid}
        stage.let_go("again")
        stage.finish()
        assert slowest < TAKEOVER_MAX_S


@pytest.mark.chaos_long
def test_failures_while_the_database_cannot_be_reached_are_retried_once(on_stage, database_url):
    fault_s = 300
    with Proxy(database_url) as network, on_stage("C-05 a network that swallows, while jobs fail") as stage:
        # Given a worker whose jobs run, with more waiting
        stage.work(1, threads=4, url=network.url)
        stage.send("fail_when", 12, name="failing")
        stage.send("pay_when", 4, name="failing")
        stage.wait_for_runs(lambda _: True, 4)
        # When the database cannot be reached exactly while they fail
        network.is_silent = True
        stage.let_go("failing")
        stage.wait_for_runs(lambda run: run.ended is not None, 4)
        until = time.monotonic() + fault_s
        wait_until(lambda: time.monotonic() > until, fault_s + 5)
        network.is_silent = False
        # Then each is retried once, and done
        stage.finish()
        assert stage.db("SELECT DISTINCT actor_name, retries FROM callboard.message_history ORDER BY 1") == [
            ("fail_when", 1),
            ("pay_when", 0),
        ]


@pytest.mark.chaos_long
def test_a_slow_and_a_half_open_network_lose_nothing(on_stage, database_url):
    count = 80
    with Proxy(database_url) as network, on_stage("C-06 200 ms of latency, then answers that never come") as stage:
        # Given a worker whose packets take their time
        stage.work(1, threads=4, url=network.url)
        network.latency_s = 0.2
        stage.send("pay", count // 2, run_s=0.01)
        stage.send("note", count // 2, run_s=0.01)
        stage.wait_until_drained(180)
        network.latency_s = 0.0
        # When requests arrive, and no answer comes back
        stage.send("note", 20, run_s=0.2)
        stage.wait_for_runs(lambda run: run.actor == "note" and run.ended is not None, count // 2 + 4)
        network.holds_answers = True
        # Then what had been committed without the worker's knowledge is not done again
        stage.note_in_flight()
        until = time.monotonic() + 6
        wait_until(lambda: time.monotonic() > until, 10)
        network.holds_answers = False
        stage.finish()
        assert len(stage.journal.runs()) == count + 20
