"""`callboard work`: each process replaced on its own, a message that kills processes stopped, a clean end."""

from __future__ import annotations

import os
import signal

from tests.acceptance.processes import counter, free_port, wait_until_ready
from tests.conftest import wait_until

JOBS = "tests.acceptance.jobs"


def test_only_the_dead_process_is_replaced(shell, jobs, db, wait_for_workers, wait_until_done):
    # Given two processes, each with a message that runs
    port = free_port()
    two = {"WORKER_PROCESSES": "2", "JOB_CONCURRENCY": "1", "METRICS_PORT": str(port), "METRICS_HOST": "127.0.0.1"}
    work = shell.callboard("work", JOBS, **two)
    before = wait_for_workers(2)
    for name in ("a", "b"):
        jobs.send("hold", name)
    killed, survivor = jobs.wait_until_runs("a"), jobs.wait_until_runs("b")
    assert {killed, survivor} == before
    # When one is killed
    os.kill(killed, signal.SIGKILL)
    # Then a new one runs its message, and the other one has not noticed
    replacement = jobs.wait_until_runs("a", elsewhere_than=killed)
    assert replacement != survivor
    assert wait_for_workers(2) == {survivor, replacement}
    for name in ("a", "b"):
        jobs.let_go(name)
    wait_until_done(2)
    assert db("SELECT message #>> '{kwargs,name}', attempt FROM callboard.message_history ORDER BY 1") == [
        ("a", 2),
        ("b", 1),
    ]
    # And the one port counts for all of them, also what a process did that is gone
    wait_until_ready(port)
    wait_until(lambda: counter(port, "callboard_messages_total", actor="hold", outcome="done") == 2, what="the sum")
    assert counter(port, "callboard_rescued_total", queue="jobs", cause="died") == 1
    # When it is told to end while a message runs
    jobs.send("hold", "c")
    jobs.wait_until_runs("c")
    work.terminate()
    wait_until(lambda: work.events("worker is stopping"), what="the end begun")
    jobs.let_go("c")
    # Then that message finishes, and nothing is left
    assert work.wait() == 0
    assert db("SELECT count(*) FROM callboard.message_history") == [(3,)]
    assert shell.left() == []


def test_a_message_that_kills_its_process_is_stopped_and_its_neighbours_finish(shell, jobs, db):
    # Given one process, so that the replacement always meets the same messages
    shell.callboard("work", JOBS, WORKER_PROCESSES="1", JOB_CONCURRENCY="2")
    poison = jobs.send("kill_own_process", "poison")
    names = [f"n{number}" for number in range(10)]
    for name in names:
        jobs.send("note", name)
    # When it has killed three processes
    wait_until(lambda: db("SELECT 1 FROM callboard.dead_letters"), 60, "the dead letter")
    # Then it is one dead letter with its reason, and every neighbour was run
    assert db("SELECT message_id::text, reason, lost_workers, attempt FROM callboard.dead_letters") == [
        (poison, "lost_worker", 3, 3)
    ]
    assert (
        db("SELECT outcome FROM callboard.attempts WHERE message_id = %s ORDER BY attempt", poison) == [("lost",)] * 3
    )
    wait_until(lambda: db("SELECT count(*) FROM dramatiq.queue") == [(0,)], 30, "an empty queue")
    noted = jobs.noted()
    assert noted.count("poison") == 3
    assert set(noted) - {"poison"} == set(names)


TWO_QUEUES = """\
import pathlib, sys
import dramatiq

def add(name):
    with pathlib.Path("started").open("a") as started:
        started.write(name + "\\n")

@dramatiq.actor(queue_name="payments")
def pay(): add("payments")

@dramatiq.actor(queue_name="emails")
def mail(): add("emails")
"""


def test_named_queues_are_worked_in_strict_order(shell):
    # Given 50 messages in each of two queues, those of the second one older
    (shell.folder / "two_queues.py").write_text(TWO_QUEUES)
    sent = shell.run_python(
        "import actors, two_queues\n"
        "for actor in (two_queues.mail, two_queues.pay):\n"
        "    for _ in range(50): actor.send()"
    )
    assert (sent.returncode, sent.stderr) == (0, "")
    # When one thread works them as they are named
    shell.callboard("work", "two_queues", "--queues", "payments,emails", WORKER_PROCESSES="1", JOB_CONCURRENCY="1")
    started = shell.folder / "started"
    wait_until(lambda: started.exists() and len(started.read_text().split()) == 100, 30, "all messages")
    # Then the first queue is empty before the second one begins
    assert started.read_text().split() == ["payments"] * 50 + ["emails"] * 50
