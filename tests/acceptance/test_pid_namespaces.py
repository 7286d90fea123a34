"""`callboard work` as process 1 of a container, and beside another one that shares /tmp: real PID namespaces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.processes import START_TIMEOUT_S, counter, free_port, get, wait_until_ready
from tests.conftest import is_running, wait_until

JOBS = ("tests.acceptance.jobs", "tests.acceptance.process_jobs")
#: `callboard work` that finds a process silent after 4 s in place of a minute, so that the test ends.
IMPATIENT = """\
import callboard.processes.replacement as replacement
import callboard.processes.exposition as exposition
replacement.REPORT_OVERDUE_S, replacement.HUNG_PATIENCE_S, exposition.REPORT_OVERDUE_S = 4.0, 1.0, 4.0
from callboard.cli.main import main
main()
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not sys.platform.startswith("linux"),
    reason="Making a PID namespace is root's right on Linux, so containers were not imitated.",
)


@pytest.fixture
def start(shell):
    """Start `callboard work` as process 1 of a namespace; return it and its number out here."""

    def start(**environment):
        port = free_port()
        settings = {"WORKER_PROCESSES": "1", "JOB_CONCURRENCY": "1", "METRICS_PORT": str(port), **environment}
        command = (sys.executable, "-c", IMPATIENT, "work", *JOBS)
        work = shell.start("unshare", "--pid", "--fork", "--mount-proc", *command, METRICS_HOST="127.0.0.1", **settings)
        wait_until_ready(port)
        (first,) = children_of(work.pid)
        work.first, work.port = first, port
        return work

    return start


def children_of(pid):
    """Return the children of a process by their state, zombies too."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(child): state for child, parent, state in rows if int(parent) == pid}


def zombies_of(pid):
    return [child for child, state in children_of(pid).items() if state.startswith("Z")]


def folder_of(pid):
    """Return the folder that a worker process counts in."""
    environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return Path(next(line.partition("=")[2] for line in environment if line.startswith("PROMETHEUS_MULTIPROC_DIR=")))


def test_a_process_whose_master_died_is_reaped_and_no_reason_for_an_end(start):
    # Given a worker process whose master is killed, so that it is given to process 1
    work = start()
    (master,) = children_of(work.first)
    (worker,) = children_of(master)
    os.kill(master, signal.SIGKILL)
    seen = []

    def is_replaced():
        seen.append(get(work.port, "/health/live"))
        masters = children_of(work.first)
        return masters and master not in masters and get(work.port, "/health/ready")[0] == 200

    wait_until(is_replaced, START_TIMEOUT_S, "its successor")
    # Then liveness never fell, and nothing of the dead is left
    assert {status for status, _ in seen} == {200}, seen
    wait_until(lambda: not zombies_of(work.first) and not is_running(worker), what="its burial")
    work_ends(work)


def test_liveness_stands_after_a_hang_was_mended(start, jobs, db):
    # Given a message that lets no other thread of its process run
    work = start(JOB_CONCURRENCY="2")
    hung = jobs.send("hold_interpreter", "hung")
    # When it has cost its three processes, each replaced by the supervisor
    seen = set()

    def is_buried():
        seen.add(get(work.port, "/health/live")[0])
        return db("SELECT message_id::text FROM callboard.dead_letters") == [(hung,)]

    wait_until(is_buried, 120, "the dead letter")
    wait_until_ready(work.port)
    # Then liveness held all the time, and no dead process is left, as a zombie or in the folder
    assert seen == {200}
    assert get(work.port, "/health/live") == (200, '{"status": "ok", "processes": 1}')
    wait_until(lambda: not zombies_of(work.first), what="no zombies")
    (master,) = children_of(work.first)
    counter(work.port, "callboard_messages_total")
    wait_until(lambda: len(list(folder_of(master).glob("health-*.json"))) == 1, what="one report")
    work_ends(work)


def test_two_containers_that_share_tmp_leave_each_other_alone(start, jobs, wait_for_workers, wait_until_done):
    # Given two supervisors that are process 1 each, with the same numbers for their processes
    first = start()
    jobs.send("note", "a")
    wait_until_done(1)
    wait_until(lambda: counter(first.port, "callboard_messages_total", actor="note", outcome="done") == 1)
    second = start()
    wait_for_workers(2)
    folders = [folder_of(next(iter(children_of(work.first)))) for work in (first, second)]
    # Then each has a folder of its own, and what the first one counted is still there
    assert folders[0] != folders[1] and all(folder.exists() for folder in folders)
    for work in (first, second):
        assert get(work.port, "/health/live") == (200, '{"status": "ok", "processes": 1}')
    assert counter(first.port, "callboard_messages_total", actor="note", outcome="done") == 1
    # When one ends, the other goes on, and the next one to start clears up
    work_ends(second)
    assert get(first.port, "/health/live")[0] == 200
    third = start()
    assert folders[0].exists() and not folders[1].exists()
    for work in (first, third):
        work_ends(work)


def work_ends(work):
    os.kill(work.first, signal.SIGTERM)
    assert work.wait() == 0
