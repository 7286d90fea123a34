"""The pool and its deadlines: it waits, it never lends a dead connection, it never hangs."""

from __future__ import annotations

import os
import threading

import psycopg2
import pytest

from callboard.db import Pool, connect, deadline
from callboard.errors import DatabaseUnavailable
from tests.conftest import wait_until
from tests.postgres.broker.proxy import Proxy


@pytest.fixture
def small(database_url):
    pool = Pool(database_url, size=1)
    yield pool
    pool.close()


def test_a_full_pool_lets_others_wait_for_their_turn(small):
    first, got = small.getconn(), []
    waiting = threading.Thread(target=lambda: got.append(small.getconn()))
    waiting.start()
    assert got == []
    small.putconn(first)
    waiting.join(10)
    assert got == [first]
    small.putconn(first)


def test_a_full_pool_says_so_when_the_deadline_passes(small):
    connection = small.getconn()
    with pytest.raises(DatabaseUnavailable, match="All 1 database connections"):
        small.getconn(timeout_s=0.05)
    small.putconn(connection)


def test_a_block_commits_at_its_end_and_rolls_back_on_an_exception(small, connection):
    with small.cursor() as cursor:
        cursor.execute("CREATE TABLE t (n int)")

    def fails():
        with small.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (1)")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM t")
        assert cursor.fetchone() == (0,)


def test_a_connection_that_the_server_ended_is_not_lent_again(small, connection):
    with small.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
        wait_until(
            lambda: cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)) or not cursor.fetchall()
        )
    # Its farewell needs a moment to arrive; then the very next use works.
    idle = small._idle[0]
    wait_until(lambda: __import__("select").select([idle], [], [], 0)[0])
    with small.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_a_statements_own_error_is_not_taken_for_a_lost_connection(small):
    with pytest.raises(psycopg2.errors.UndefinedTable), small.cursor() as cursor:
        cursor.execute("SELECT * FROM nowhere")
    with small.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_a_connection_lost_in_the_middle_is_the_databases_absence(small):
    with pytest.raises(DatabaseUnavailable), small.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with small.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_a_query_that_nobody_answers_ends_at_its_deadline(database_url):
    with Proxy(database_url) as proxy:
        connection = connect(proxy.url)
        proxy.is_silent = True
        with (
            pytest.raises(TimeoutError, match=r"did not answer within 0\.3 s"),
            deadline(connection, 0.3),
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT 1")
        connection.close()


def test_a_deadline_that_is_kept_does_nothing(database_url):
    connection = connect(database_url)
    with deadline(connection, 5), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    connection.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(small):
    with small.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        parent_session = cursor.fetchone()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with small.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            os.write(write, str(cursor.fetchone() != parent_session).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 16) == b"True"
    # And the parent's session has survived the child.
    with small.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == parent_session


def test_an_address_that_cannot_be_reached_is_the_databases_absence():
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        connect("postgresql://nobody@127.0.0.1:1/none")
