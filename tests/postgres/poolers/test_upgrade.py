"""Upgrades: one at a time, also through a pooler, and none waits for ever."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading

import psycopg2
import pytest

from callboard.db import schema
from callboard.db.migrations import turn
from callboard.errors import Conflict
from tests.conftest import fresh_database, wait_until
from tests.poolers import IGNORES_OPTIONS, pooled


@pytest.fixture
def empty_url(embedded_server):
    with fresh_database(embedded_server) as url:
        yield url


@contextlib.contextmanager
def busy(url, clients=6):
    """Let other clients take sessions from the pooler all the time."""
    is_over = threading.Event()

    def ask():
        with contextlib.closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            while not is_over.is_set():
                connection.cursor().execute("SELECT pg_sleep(0.002)")

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join(20)


def locks(url):
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return cursor.fetchone()[0]


@pytest.mark.parametrize("settings", [{}, IGNORES_OPTIONS, {"default_pool_size": "1"}])
def test_an_upgrade_through_a_busy_pooler_leaves_no_lock(empty_url, settings):
    with pooled(empty_url, **settings) as pooler, busy(pooler.url):
        assert schema.upgrade(pooler.url) == schema.REVISION
        # Then nothing stays in the pooler's sessions, and the next one, also a direct one, does not wait
        assert locks(empty_url) == 0
        assert schema.upgrade(pooler.url) == schema.REVISION
        assert schema.upgrade(empty_url) == schema.REVISION


@pytest.mark.parametrize("is_pooled", [True, False])
def test_two_upgrades_at_once_both_succeed(empty_url, is_pooled):
    code = "import sys; from callboard.db import schema; print(schema.upgrade(sys.argv[1]))"
    with pooled(empty_url) as pooler:
        url = pooler.url if is_pooled else empty_url
        processes = [
            subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) for _ in range(3)
        ]
        said = [process.communicate(timeout=90)[0].splitlines()[-1:] for process in processes]
    assert said == [[schema.REVISION]] * 3
    with contextlib.closing(psycopg2.connect(empty_url)) as connection:
        assert schema.current_revision(connection) == schema.REVISION


@pytest.fixture
def other_upgrade(empty_url):
    """An upgrade of somebody else that does not end; its session, as the older version held the lock."""
    with contextlib.closing(psycopg2.connect(empty_url, application_name="other upgrade")) as connection:
        connection.cursor().execute("SELECT pg_advisory_lock(hashtext('callboard.migrations'))")
        yield connection


@pytest.mark.parametrize("is_pooled", [True, False])
def test_an_upgrade_that_waits_says_for_whom_and_ends(empty_url, other_upgrade, monkeypatch, caplog, is_pooled):
    monkeypatch.setattr(turn, "WAIT_MAX_S", 1.5)
    pid = other_upgrade.info.backend_pid
    with pooled(empty_url) as pooler, pytest.raises(Conflict) as caught:
        schema.upgrade(pooler.url if is_pooled else empty_url)
    text = str(caught.value)
    assert f"process {pid} of Postgres (other upgrade), since 20" in text
    assert "within 1.5 s" in text and f"pg_terminate_backend({pid})" in text
    assert [record.message for record in caplog.records] == ["another upgrade is waited for"]


def test_an_upgrade_goes_on_when_the_other_one_ends(empty_url, other_upgrade, caplog):
    done = []
    thread = threading.Thread(target=lambda: done.append(schema.upgrade(empty_url)))
    thread.start()
    wait_until(lambda: "another upgrade is waited for" in caplog.text, 20, "the wait")
    other_upgrade.close()
    thread.join(60)
    assert done == [schema.REVISION]


def test_an_upgrade_that_fails_frees_its_turn(empty_url, monkeypatch):
    monkeypatch.setattr(schema, "_revisions", lambda _config: ["0001", "nowhere"])
    with pytest.raises(Exception, match="nowhere"):
        schema.upgrade(empty_url)
    monkeypatch.undo()
    assert locks(empty_url) == 0
    assert schema.upgrade(empty_url) == schema.REVISION


def test_an_upgrade_is_for_read_committed_whatever_the_database_says(empty_url):
    with contextlib.closing(psycopg2.connect(empty_url)) as connection:
        connection.autocommit = True
        name = connection.info.dbname
        connection.cursor().execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'")
    with pooled(empty_url) as pooler, busy(pooler.url):
        assert schema.upgrade(pooler.url) == schema.REVISION
