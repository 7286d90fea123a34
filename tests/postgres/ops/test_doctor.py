"""What the doctor finds in a database, well and ill."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

from callboard.ops.health import doctor
from callboard.ops.health.doctor import examine_database
from callboard.ops.health.findings import State, examine
from tests.postgres.broker.deaf_proxy import DeafProxy


@pytest.fixture
def url(each_database_url):
    return each_database_url


@pytest.fixture
def execute(url):
    connection = psycopg2.connect(url)
    connection.autocommit = True
    yield lambda statement: connection.cursor().execute(statement)
    connection.close()


@pytest.fixture
def durable(monkeypatch):
    """The servers of the tests keep nothing over a crash; all but that is as it should be."""
    facts = doctor._Facts
    monkeypatch.setattr(doctor, "_Facts", lambda *row: facts(*row)._replace(keeps_data=True, synchronous_commit="on"))


def found(url, **options):
    findings = examine_database(url, **{"pool_size": 10, "listens": True, **options})
    return {finding.name: finding for finding in findings}


WORKER = """
    INSERT INTO callboard.workers (worker_id, hostname, pid, queues, threads, version)
    VALUES (gen_random_uuid(), 'host', 1, '{emails}', 8, '0')
"""


def test_a_database_with_workers_for_every_queue_is_well(url, execute, durable):
    execute(WORKER)
    execute("INSERT INTO callboard.actors (actor_name, queue_name) VALUES ('send_email', 'emails')")
    findings = found(url)
    assert {finding.state for finding in findings.values()} == {State.OK}, findings
    assert set(findings) == {
        "database", "durability", "transactions", "clock", "session", "doorbell", "schema", "autovacuum",
        "connections", "workers",
        "sequences", "grants",
    }  # fmt: skip


def test_a_server_that_may_lose_what_it_accepted_fails(url, execute):
    assert found(url)["durability"].state is State.FAILED
    assert found(url, is_embedded=True)["durability"].state is State.SKIPPED


def test_late_commits_fail(url, durable, monkeypatch):
    facts = doctor._Facts
    monkeypatch.setattr(doctor, "_Facts", lambda *row: facts(*row)._replace(synchronous_commit="off"))
    assert "synchronous_commit" in found(url)["durability"].advice


def test_a_database_that_is_away_is_one_finding():
    (finding,) = examine_database("postgresql://127.0.0.1:1/none", pool_size=10, listens=True)
    assert (finding.name, finding.state) == ("database", State.FAILED) and "cannot be reached" in finding.text


def test_a_database_without_the_schema_names_the_command(embedded_server):
    findings = found(embedded_server.recreate_database("doctor_without_schema"))
    assert findings["schema"].state is State.FAILED and "callboard db upgrade" in findings["schema"].text
    # What would look into its tables is left out; what would not is there.
    assert "connections" not in findings and findings["doorbell"].state is State.OK


def test_a_connection_that_hears_nothing_is_named_with_its_remedy(url, monkeypatch):
    monkeypatch.setattr(doctor, "HEARING_TIMEOUT_S", 0.3)
    with DeafProxy(url) as proxy:
        finding = found(proxy.url)["doorbell"]
    assert finding.state is State.FAILED and "QUEUE_LISTEN=off" in finding.advice
    assert found(url, listens=False)["doorbell"].state is State.SKIPPED


def test_a_transaction_that_stays_open_is_found(url, monkeypatch):
    monkeypatch.setattr(doctor, "TRANSACTION_MAX_S", 0.0)
    with contextlib.closing(psycopg2.connect(url)) as other:
        other.cursor().execute("SELECT 1")
        finding = found(url)["transactions"]
    assert finding.state is State.WARNING and "pg_stat_activity" in finding.advice


def test_too_few_connections_are_found(url, execute):
    for _ in range(20):
        execute(WORKER)
    assert "max_connections" in found(url)["connections"].text
    assert found(url)["connections"].state is State.WARNING


def test_queues_that_nobody_serves_are_named_with_what_waits(url, execute):
    execute("INSERT INTO callboard.actors (actor_name, queue_name) VALUES ('pay', 'payments'), ('send', 'emails')")
    execute(
        "INSERT INTO dramatiq.queue (message_id, queue_name, message) "
        "SELECT gen_random_uuid(), 'payments', '{}' FROM generate_series(1, 3)"
    )
    assert found(url)["workers"].text == "No worker process runs."
    execute(WORKER)
    assert "none of them serves: payments (3 waiting)" in found(url)["workers"].text


def test_a_clock_that_is_wrong_is_found(url, monkeypatch):
    monkeypatch.setattr(doctor, "SKEW_MAX_S", -1.0)
    assert found(url)["clock"].state is State.WARNING


def test_rows_that_vacuum_does_not_remove_are_found(url, monkeypatch):
    facts = doctor._Facts
    monkeypatch.setattr(doctor, "_Facts", lambda *row: facts(*row)._replace(dead_rows=60_000, live_rows=10))
    assert found(url)["autovacuum"].state is State.WARNING
    monkeypatch.setattr(doctor, "_Facts", lambda *row: facts(*row)._replace(autovacuum=False))
    assert found(url)["autovacuum"].state is State.FAILED


def test_a_check_that_breaks_is_a_finding_itself():
    (finding,) = examine("part", lambda: 1 / 0)
    assert (finding.name, finding.state) == ("part", State.FAILED) and "ZeroDivisionError" in finding.text
