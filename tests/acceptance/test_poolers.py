"""The service behind a real PgBouncer in transaction mode, at its defaults, with QUEUE_LISTEN=off."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.acceptance.processes import commands, free_port, get, wait_until_ready
from tests.conftest import wait_until
from tests.poolers import Pooler, pooled
from tests.postgres.poolers.test_upgrade import busy

JOBS = "tests.acceptance.jobs"
ONE = {"WORKER_PROCESSES": "1", "JOB_CONCURRENCY": "1"}
#: A worker that died is found by its heartbeat, which is late after 20 s.
RESCUE_MAX_S = 45


@pytest.fixture
def pooler(database_url):
    with pooled(database_url) as lent:
        yield lent


@pytest.fixture
def shell(tmp_path, pooler):
    with commands(tmp_path / "commands", DATABASE_URL=pooler.url, QUEUE_LISTEN="off") as lent:
        yield lent


def test_every_command_works_behind_a_pooler(shell, jobs, db):
    for name in ("a", "b"):
        jobs.send("refuse", name)
    # When a worker has run what is ready, and an API answers
    work = shell.callboard("work", JOBS, "--stop-when-empty", WORKER_INTERVAL_MS="300", **ONE)
    assert work.wait(90) == 0, work.log
    for command in (
        ["db", "upgrade"],
        ["db", "check"],
        ["db", "current"],
        ["status"],
        ["stats"],
        ["workers"],
        ["queues", "list"],
        ["queues", "pause", "jobs"],
        ["queues", "resume", "jobs"],
        ["messages", "list"],
        ["dead", "list"],
        ["dead", "groups"],
        ["dead", "retry", "--all", "--yes"],
        ["enqueue", "send_email", '{"to": "a@b.example", "template": "x"}'],
        ["schedules", "list"],
        ["audit"],
    ):
        ended = shell.run_callboard(*command)
        # None runs now, which status and workers say.
        allowed = {"status": (0, 4), "workers": (3,)}.get(command[0], (0,))
        assert ended.returncode in allowed, f"{command}: {ended.stdout}{ended.stderr}"
    doctor = shell.run_callboard("doctor")
    assert "a pooler's" in " ".join(doctor.stdout.split())
    port = free_port()
    shell.callboard("api", API_PORT=str(port))
    wait_until_ready(port)
    assert get(port, "/health/queue")[0] == 200
    assert "callboard_queue_depth" in get(port, "/metrics")[1]


def test_a_producer_sends_behind_a_pooler(shell, db):
    code = (
        "import callboard\n"
        "from actors import send_email\n"
        "mail = {'to': 'a@b.example', 'template': 'x'}\n"
        "send_email.send(**mail)\n"
        "for count in (2, 100):\n"
        "    callboard.send_many(send_email.message(**mail) for _ in range(count))\n"
    )
    ended = shell.run_python(code)
    assert ended.returncode == 0, ended.stderr
    assert db("SELECT count(*) FROM dramatiq.queue") == [(103,)]


def test_a_paused_worker_keeps_its_message_and_a_killed_one_loses_it(
    shell, jobs, db, wait_for_workers, wait_until_done
):
    # Given two workers, one of which runs a message
    two = {"WORKER_PROCESSES": "2", "JOB_CONCURRENCY": "1", "WORKER_INTERVAL_MS": "500"}
    shell.callboard("work", JOBS, **two)
    wait_for_workers(2)
    jobs.send("hold", "a")
    runner = jobs.wait_until_runs("a")
    # When that one is paused for longer than it takes to find a dead one straight in the database
    for _ in range(2):
        os.kill(runner, signal.SIGSTOP)
        time.sleep(6)
        os.kill(runner, signal.SIGCONT)
    # Then nobody has taken its message, or even suspected it
    assert db("SELECT attempt, lost_workers, state FROM dramatiq.queue") == [(1, 0, "running")]
    assert db("SELECT count(*) FROM callboard.workers WHERE suspected_at IS NOT NULL OR holds_lock") == [(0,)]
    # When it is killed, then the other one, or its successor, runs it
    os.kill(runner, signal.SIGKILL)
    wait_until(
        lambda: [path for path in jobs.place.glob("a.running.*") if int(path.suffix[1:]) != runner],
        RESCUE_MAX_S,
        "the second run",
    )
    jobs.let_go("a")
    wait_until_done(1)
    assert db("SELECT attempt, lost_workers FROM callboard.message_history") == [(2, 1)]


def test_a_pooler_that_starts_anew_under_load_loses_nothing(shell, jobs, db, pooler: Pooler, wait_for_workers):
    shell.callboard("work", JOBS, WORKER_PROCESSES="2", JOB_CONCURRENCY="2", WORKER_INTERVAL_MS="300")
    wait_for_workers(2)
    for number in range(60):
        jobs.send("note", f"n{number}")
        if number in (20, 40):
            pooler.stop()
            pooler.start()
    wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(60,)], 60, "all done")
    assert set(jobs.noted()) == {f"n{number}" for number in range(60)}


def test_one_session_is_enough_for_everything(tmp_path, database_url, jobs, db):
    # Given a pooler with a single session for all, and others who use it
    with (
        pooled(database_url, default_pool_size="1") as pooler,
        commands(tmp_path / "commands", DATABASE_URL=pooler.url, QUEUE_LISTEN="off") as shell,
        busy(pooler.url, clients=2),
    ):
        work = shell.callboard("work", JOBS, WORKER_PROCESSES="2", JOB_CONCURRENCY="2", WORKER_INTERVAL_MS="300")
        for number in range(20):
            jobs.send("note", f"n{number}")
        wait_until(lambda: db("SELECT count(*) FROM callboard.message_history") == [(20,)], 60, "all done")
        # When the schema is upgraded meanwhile
        assert shell.run(sys.executable, "-m", "callboard.cli", "db", "upgrade").returncode == 0
        work.terminate()
        assert work.wait() == 0
