"""`dramatiq actors` as an operator starts it: what it runs, what it survives, when it refuses."""

from __future__ import annotations

import os
import signal
import socket
import sys

import pytest

from callboard.dev.mail_server import MailServer
from tests.acceptance.processes import counter, free_port, get, wait_until_ready
from tests.conftest import wait_until
from tests.postgres.broker.proxy import Proxy

JOBS = "tests.acceptance.jobs"


def test_a_mail_sent_by_another_process_arrives_at_the_mail_server(shell, tmp_path):
    # Given `dramatiq actors` with a mail server, ready by its health page
    port = free_port()
    with MailServer(tmp_path / "mail") as server:
        smtp = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(server.port), "SMTP_SECURITY": "none"}
        shell.dramatiq("actors", METRICS_PORT=str(port), METRICS_HOST="127.0.0.1", **smtp)
        wait_until_ready(port)
        # When a producer sends as the README shows it
        sent = shell.run_python(
            "from actors import send_email; "
            "send_email.send(to='a@example.org', template='welcome', context={'name': 'Ada'})"
        )
        assert (sent.returncode, sent.stderr) == (0, "")
        # Then the mail arrives, once, and is counted
        [mail] = wait_until(server.mails, 20, "the mail")
        wait_until(lambda: counter(port, "callboard_messages_total", actor="send_email", outcome="done") == 1)
    text = mail.read_text()
    assert "X-Envelope-To: a@example.org" in text and "Ada" in text
    assert [attempt.code for attempt in server.attempts()] == [250, 250]


def test_a_killed_workers_message_is_run_by_another_process(shell, jobs, db, wait_for_workers, wait_until_done):
    # Given two workers, and a message that runs in one of them
    for _ in range(2):
        shell.dramatiq(JOBS)
    wait_for_workers(2)
    jobs.send("hold", "a")
    killed = jobs.wait_until_runs("a")
    # When that process dies without a word
    os.kill(killed, signal.SIGKILL)
    # Then the other one runs it, and the loss is on record
    jobs.wait_until_runs("a", elsewhere_than=killed)
    jobs.let_go("a")
    wait_until_done(1)
    assert db("SELECT attempt, lost_workers, retries FROM callboard.message_history") == [(2, 1, 0)]
    assert db("SELECT attempt, outcome, error_class FROM callboard.attempts") == [(1, "lost", "LostWorker")]


def test_on_sigterm_running_messages_finish_and_the_others_are_handed_back(shell, jobs, db, wait_for_workers):
    # Given a worker whose two threads run a message each, with more waiting
    worker = shell.dramatiq(JOBS, shutdown_ms=6000)
    wait_for_workers(1)
    for name in ("finishes", "too-long"):
        jobs.send("hold", name)
        jobs.wait_until_runs(name)
    for _ in range(3):
        jobs.send("note", "later")
    # When it is told to end, and only one message ends in time
    worker.terminate()
    worker.wait_for_event("worker is stopping")
    jobs.let_go("finishes")
    # Then that one is done, and every other waits as if it had never been claimed
    assert worker.wait() == 0
    assert db("SELECT message #>> '{kwargs,name}' FROM callboard.message_history") == [("finishes",)]
    assert sorted(
        db("SELECT message #>> '{kwargs,name}', state, attempt, retries, lost_workers FROM dramatiq.queue")
    ) == [("later", "queued", 0, 0, 0)] * 3 + [("too-long", "queued", 0, 0, 0)]
    assert db("SELECT count(*) FROM callboard.attempts") == [(0,)]
    assert db("SELECT count(*) FROM callboard.workers") == [(0,)]
    assert jobs.noted() == []
    assert shell.left() == []


def test_a_lost_database_connection_in_the_middle_of_work_loses_nothing(shell, jobs, database_url, db):
    # Given a worker that reaches Postgres over a network, busy with short messages and one long one
    names = [str(number) for number in range(150)]
    with Proxy(database_url) as network:
        shell.dramatiq(JOBS, threads=4, DATABASE_URL=network.url)
        jobs.send("hold", "long")
        jobs.wait_until_runs("long")
        # When every connection is cut again and again
        for number, name in enumerate(names):
            jobs.send("note", name)
            if number % 50 == 10:
                network.cut()
        jobs.let_go("long")
        wait_until(lambda: db("SELECT count(*) FROM dramatiq.queue") == [(0,)], 30, "an empty queue")
    # Then each message was run, ended once, and no worker was taken for dead
    assert sorted(set(jobs.noted())) == sorted(names)
    assert db("SELECT count(*), count(DISTINCT message_id) FROM callboard.message_history") == [(151, 151)]
    assert db("SELECT outcome, error_message FROM callboard.attempts") == []
    assert db("SELECT count(*) FROM callboard.dead_letters") == [(0,)]


@pytest.mark.parametrize(
    "command",
    [["dramatiq", JOBS, "-p", "1", "--skip-logging"], ["callboard.cli", "work", JOBS]],
    ids=["dramatiq", "work"],
)
def test_a_worker_waits_for_a_database_that_is_away_at_its_start(shell, jobs, database_url, command):
    # Given a port that refuses connections
    database_port, port = free_port(), free_port()
    away = f"postgresql://postgres@127.0.0.1:{database_port}/{database_url.rsplit('/', 1)[1].split('?')[0]}"
    settings = {"DATABASE_URL": away, "METRICS_PORT": str(port), "METRICS_HOST": "127.0.0.1"}
    worker = shell.start(sys.executable, "-m", *command, **settings)
    # Then the worker lives, unready, and says why
    wait_until(lambda: get(port, "/health/live")[0] == 200, what="live")
    wait_until(lambda: "the database is away" in get(port, "/health/ready")[1], what="the reason")
    assert get(port, "/health/ready")[0] == 503
    assert "database is away" in worker.log
    assert get(port, "/health/live")[0] == 200
    # When the database comes
    with Proxy(database_url, database_port):
        # Then the worker works
        wait_until_ready(port)
        jobs.send("note", "at last")
        wait_until(jobs.noted, what="the message")


def test_the_processes_of_one_worker_share_a_metrics_port(shell, jobs):
    # Given two processes with one thread each
    port = free_port()
    shell.dramatiq(JOBS, processes=2, threads=1, METRICS_PORT=str(port), METRICS_HOST="127.0.0.1")
    wait_until(lambda: '"processes": 2' in get(port, "/health/ready")[1], 20, "two ready processes")
    # When both run a message
    for name in ("a", "b"):
        jobs.send("hold", name)
    pids = {jobs.wait_until_runs(name) for name in ("a", "b")}
    assert len(pids) == 2
    wait_until(lambda: counter(port, "callboard_in_progress", queue="jobs") == 2, what="both in progress")
    for name in ("a", "b"):
        jobs.let_go(name)
    # Then the one port tells the sum
    wait_until(lambda: counter(port, "callboard_messages_total", actor="hold", outcome="done") == 2, what="the sum")
    wait_until(lambda: counter(port, "callboard_in_progress", queue="jobs") == 0, what="none in progress")
    assert counter(port, "callboard_run_seconds_count", actor="hold") == 2


def test_a_taken_metrics_port_does_not_stop_a_worker(shell, jobs):
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        shell.dramatiq(JOBS, METRICS_PORT=str(somebody.getsockname()[1]), METRICS_HOST="127.0.0.1")
        jobs.send("note", "ran")
        wait_until(jobs.noted, 20, "the message")


def test_a_teams_own_actors_run_beside_ours(shell, tmp_path, db):
    # Given a module that declares actors in Dramatiq's usual way
    (shell.folder / "their_actors.py").write_text(
        "import pathlib, dramatiq\n\n"
        "@dramatiq.actor(queue_name='theirs')\n"
        "def greet(path):\n"
        "    pathlib.Path(path).write_text('hello')\n"
    )
    worker = shell.dramatiq("actors", "their_actors")
    assert "theirs" in worker.wait_for_event("worker started")["queues"]
    # When their service sends
    greeting = tmp_path / "greeting"
    sent = shell.run_python(f"import actors, their_actors; their_actors.greet.send({str(greeting)!r})")
    assert (sent.returncode, sent.stderr) == (0, "")
    # Then our worker runs it
    wait_until(lambda: greeting.exists() and greeting.read_text() == "hello", 20, "the greeting")
    assert db("SELECT queue_name FROM callboard.actors WHERE actor_name = 'greet'") == [("theirs",)]


@pytest.mark.parametrize(
    "command",
    [["dramatiq", "actors", "-p", "1"], ["callboard.cli", "work"], ["callboard.cli", "api"]],
    ids=lambda c: c[-1],
)
def test_an_older_schema_is_refused_with_the_command_that_helps(shell, embedded_server, command):
    url = embedded_server.recreate_database("never_migrated")
    done = shell.run(sys.executable, "-m", *command, DATABASE_URL=url)
    assert done.returncode != 0
    assert "callboard db upgrade" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_settings_are_named_all_at_once(shell):
    done = shell.run(
        sys.executable,
        "-m",
        "dramatiq",
        "actors",
        "-p",
        "1",
        MAX_TASKS_PER_CYCLE="eight",
        SMTP_PORT="0",
        QUEUE_LISTEN="maybe",
    )
    assert done.returncode == 2
    for text in ("MAX_TASKS_PER_CYCLE", "'eight'", "SMTP_PORT", "'0'", "QUEUE_LISTEN", "'maybe'"):
        assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [["dramatiq", JOBS, "-p", "1", "-t", "1", "--skip-logging"], ["callboard.cli", "work", JOBS]],
    ids=["dramatiq", "work"],
)
def test_too_few_connections_are_said_once_at_the_start(shell, jobs, db, command):
    # Given workers enough to use up what Postgres has
    workers = 20
    db(
        # Without a lock to look at, so that nobody takes them for dead while the test runs.
        "INSERT INTO callboard.workers (worker_id, hostname, pid, queues, threads, version, beat_at, holds_lock) "
        "SELECT gen_random_uuid(), 'elsewhere', n, '{other}', 1, '0', now() + interval '50 seconds', false "
        "FROM generate_series(1, %s) AS n",
        workers,
    )
    # When one more process starts
    worker = shell.start(sys.executable, "-m", *command)
    jobs.send("note", "a")
    wait_until(jobs.noted, 30, "the message")
    # Then it says so with the figures, once, and works
    assert worker.log.count("Postgres may run out of connections: 21 worker processes") == 1
    assert "Set max_connections to" in worker.log
    checked = shell.run_callboard("db", "check")
    assert checked.returncode == 0
    assert "Postgres may run out of connections" in checked.stderr
