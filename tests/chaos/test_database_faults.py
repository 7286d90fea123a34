"""Postgres is killed, restarted, ends sessions, has no connection left: workers wait, and go on where they were."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dramatiq
import pytest

from callboard.broker import PostgresBroker
from callboard.errors import BrokerUnavailable
from tests.acceptance.processes import Process, free_port, get
from tests.chaos.cluster import Cluster, own_cluster
from tests.chaos.stage import Stage
from tests.conftest import wait_until

#: Sessions of a worker process by what they are for.
SESSIONS = ("callboard completions", "callboard intake", "callboard liveness", "callboard")
#: Time until workers are at work again once the database is ready, s.
RESUME_MAX_S = 10
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster(is_long: bool) -> Iterator[Cluster]:
    with own_cluster(max_connections=300 if is_long else 40) as cluster:
        yield cluster


@pytest.fixture
def own_url(cluster: Cluster) -> str:
    return cluster.database(f"chaos_{next(_numbers)}")


def resumed_after_s(stage: Stage, ready_at: float) -> float:
    """Return how long after the database was ready a message was run that was sent after it."""
    [message_id] = stage.send("note")
    [run] = stage.wait_for_runs(lambda run: run.message_id == message_id)
    return run.began - ready_at


def rings_again(stage: Stage) -> None:
    """See that an idle worker hears the doorbell, and needs not wait for its poll every 5 s."""
    stage.wait_until_drained()

    def is_heard() -> bool:
        [message_id] = stage.send("note")
        sent_at = time.monotonic()
        [run] = stage.wait_for_runs(lambda run: run.message_id == message_id)
        stage.wait_until_drained()
        return run.began - sent_at < 1

    wait_until(is_heard, 20, "a message that starts within 1 s of its ring")


def start_work(stage: Stage, rate: float) -> Process:
    """Have two workers under load, with one message that runs through it all, and return the sender."""
    stage.work(2, threads=4)
    stage.send("hold", name="long")
    producer = stage.produce("note", "pay", rate=rate, run_s=0.05)
    stage.wait_for_runs(lambda run: run.ended is not None, 10)
    return producer


def end_work(stage: Stage, producer: Process) -> None:
    """See that the same workers went on, with every thread and with the doorbell, and none was taken for dead."""
    producer.terminate()
    producer.wait()
    stage.let_go("long")
    rings_again(stage)
    stage.send("hold", 8, name="all")
    stage.wait_for_runs(lambda run: run.actor == "hold" and run.ended is None, 8, what="all threads at work")
    stage.let_go("all")
    assert [worker.process.popen.poll() for worker in stage.workers] == [None, None]
    stage.finish()
    # Nothing ran twice but what had failed for want of a database.
    assert stage.db("SELECT DISTINCT outcome FROM callboard.attempts") in ([], [("retry",)])
    runs = [run for run in stage.journal.runs() if run.error is None]
    assert len(runs) == len({run.message_id for run in runs})


def kill_and_start(stage: Stage, cluster: Cluster, outage_s: float) -> None:
    """Kill Postgres, with jobs that fail meanwhile, start it after a time, and see the workers go on."""
    failing = stage.send("fail_when", 2, name=f"outage-{outage_s}")
    stage.wait_for_runs(lambda run: run.message_id in failing, 2)
    cluster.kill()
    stage.note_in_flight()
    stage.let_go(f"outage-{outage_s}")
    pause(outage_s)
    resumed_s = resumed_after_s(stage, cluster.start())
    stage.remarks.append(f"at work {resumed_s:.1f} s after the kill's end")
    assert resumed_s < RESUME_MAX_S


def restart(stage: Stage, cluster: Cluster) -> None:
    stage.note_in_flight()
    resumed_s = resumed_after_s(stage, cluster.restart())
    stage.remarks.append(f"{resumed_s:.1f} s after a restart")
    assert resumed_s < RESUME_MAX_S


def end_sessions(stage: Stage, seconds: float, *names: str) -> None:
    """End sessions of these names, two times a second."""
    statement = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = %s"
    )
    ended, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        ended += len(stage.db(statement, random.choice(names)))  # noqa: S311 - chaos, not cryptography
        pause(0.5)
    stage.note_in_flight(5 * ended)
    stage.remarks.append(f"{ended} sessions ended")


def take_all_connections(stage: Stage, cluster: Cluster) -> None:
    """Take all connections while jobs end and others are sent; see senders told, and the workers go on afterwards."""
    stage.send("pay_when", 2, name="work")
    ids = {run.message_id for run in stage.wait_for_runs(lambda run: run.actor == "pay_when", 2)}
    broker = PostgresBroker(url=stage.url, middleware=[])
    message = dramatiq.Message(queue_name="chaos", actor_name="note", args=(), kwargs={}, options={})
    stage.note_in_flight()
    with cluster.all_connections_taken(stage.url) as taken:
        stage.remarks.append(f"{taken} connections taken")
        stage.let_go("work")
        with pytest.raises(BrokerUnavailable, match="too many clients"):
            broker.enqueue(message)
        stage.wait_for_runs(lambda run: run.message_id in ids and run.ended is not None, 2, 90)
    broker.close()
    freed_at = time.monotonic()
    resumed_s = resumed_after_s(stage, freed_at)
    stage.remarks.append(f"at work {resumed_s:.1f} s later")
    assert resumed_s < RESUME_MAX_S


def pause(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > until, seconds + 5)


def test_whatever_happens_to_the_database_nothing_is_lost_and_nobody_taken_for_dead(on_stage, cluster, own_url):
    with on_stage("C-03 C-04 C-05 C-23 every fault of the database in turn", url=own_url) as stage:
        producer = start_work(stage, rate=30)
        kill_and_start(stage, cluster, outage_s=1)
        end_sessions(stage, 2, *SESSIONS)
        restart(stage, cluster)
        take_all_connections(stage, cluster)
        end_work(stage, producer)


@pytest.mark.chaos_long
def test_a_killed_database_loses_nothing_and_its_workers_go_on(on_stage, cluster, own_url):
    with on_stage("C-03 Postgres killed, for 5 s and for 60 s", url=own_url) as stage:
        port = free_port()
        stage.commands.callboard("api", API_PORT=str(port), API_HOST="127.0.0.1")
        wait_until(lambda: get(port, "/health/ready")[0] == 200, 30, "the API")
        producer = start_work(stage, rate=40)
        kill_and_start(stage, cluster, outage_s=5)
        # The API says so at once.
        with ThreadPoolExecutor() as meanwhile:
            asked = meanwhile.submit(ask_while_away, port)
            kill_and_start(stage, cluster, outage_s=60)
            status, seconds = asked.result()
        assert (status, seconds < 3) == (503, True)
        restart(stage, cluster)
        end_work(stage, producer)


def ask_while_away(port: int) -> tuple[int, float]:
    """Ask the API whether it is ready once it no longer is; return its answer and how long that took."""
    wait_until(lambda: get(port, "/health/ready")[0] != 200, 60, "the outage")
    asked_at = time.monotonic()
    status, _ = get(port, "/health/ready")
    return status, time.monotonic() - asked_at


@pytest.mark.chaos_long
def test_ended_sessions_cost_no_slot_and_no_message(on_stage, database_url):
    with on_stage("C-04 pg_terminate_backend twice a second") as stage:
        producer = start_work(stage, rate=60)
        end_sessions(stage, 60, *SESSIONS)
        for name in SESSIONS:
            end_sessions(stage, 5, name)
        done = stage.db("SELECT count(*) FROM callboard.message_history")[0][0]
        sent = len(stage.journal.sent())
        stage.remarks.append(f"{done / sent:.1%} done by then")
        end_work(stage, producer)
        assert done >= 0.95 * sent
