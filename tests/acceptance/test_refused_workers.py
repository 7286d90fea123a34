"""A database that begins to refuse a worker that runs already, and takes it back."""

from __future__ import annotations

from tests.acceptance.processes import Jobs, free_port, get
from tests.conftest import wait_until


def test_a_running_worker_says_once_that_it_is_refused_and_goes_on_when_that_is_corrected(
    shell, db, database_url, jobs: Jobs
):
    # Given a worker of a role of its own
    name = "refused_worker"
    db(f"DROP ROLE IF EXISTS {name}")
    db(f"CREATE ROLE {name} LOGIN SUPERUSER")
    url, port = f"{database_url}&user={name}", free_port()
    worker = shell.dramatiq("actors", "tests.acceptance.jobs", DATABASE_URL=url, METRICS_PORT=str(port))
    worker.wait_for_event("worker started")
    wait_until(lambda: get(port, "/health/ready")[0] == 200, 30, "ready")
    # When the role may no longer log in, and its sessions end
    db(f"ALTER ROLE {name} NOLOGIN")
    db("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", name)
    worker.wait_for_event("database refuses the worker; nothing new starts until that is corrected")
    wait_until(lambda: get(port, "/health/ready")[0] == 503, 30, "unready")
    jobs.send("note", "after")
    # Then it neither ends nor repeats itself, and works as soon as it is let in
    db(f"ALTER ROLE {name} LOGIN")
    wait_until(lambda: jobs.noted() == ["after"], 30, "the message")
    assert len(worker.events("database refuses the worker; nothing new starts until that is corrected")) == 1
    worker.terminate()
    assert worker.wait() == 0


def test_a_worker_and_an_api_that_are_refused_at_their_start_end(shell, database_url):
    url = f"{database_url}&user=nobody_at_all"
    for command in ("work", "api"):
        done = shell.run_callboard(command, DATABASE_URL=url)
        assert done.returncode == 2, done.stderr
        assert "Postgres refuses the connection" in done.stderr and "Correct user" in done.stderr


def test_a_running_api_says_that_the_database_refuses_it_and_nothing_more(shell, db, database_url):
    name, port = "refused_api", free_port()
    db(f"DROP ROLE IF EXISTS {name}")
    db(f"CREATE ROLE {name} LOGIN SUPERUSER")
    api = shell.callboard("api", DATABASE_URL=f"{database_url}&user={name}", API_PORT=str(port))
    wait_until(lambda: get(port, "/health/ready")[0] == 200, 30, "ready")
    db(f"ALTER ROLE {name} NOLOGIN")
    db("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", name)
    wait_until(lambda: get(port, "/health/ready")[0] == 503, 30, "unready")
    status, body = get(port, "/health/ready")
    assert status == 503 and "refuses the connection" in body and name not in body
    assert get(port, "/health/live")[0] == 200
    assert "is not permitted to log in" in api.log
