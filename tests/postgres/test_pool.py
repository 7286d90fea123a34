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


def test_a_connection_lost_while_it_commits_frees_its_slot(database_url, connection):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (n int)")
    with Proxy(database_url) as proxy:
        pool = Pool(proxy.url, size=1)
        # When the commit is sent and its answer never comes
        proxy.lose_next_answer(lambda: None, to=b"COMMIT")
        with pytest.raises(DatabaseUnavailable), pool.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (1)")
        # Then the one slot is free for a new connection
        with pool.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM t")
            assert cursor.fetchone() == (1,)
        pool.close()


def test_connections_killed_again_and_again_leak_no_slot(database_url, connection):
    # Given eight threads that share three connections, while somebody ends all sessions now and then
    pool = Pool(database_url, size=3)
    done = []

    def use():
        for _ in range(30):
            try:
                with pool.cursor() as cursor:
                    cursor.execute("SELECT pg_sleep(0.005)")
            except DatabaseUnavailable:
                continue
            done.append(1)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    with connection.cursor() as cursor:
        for _ in range(10):
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'callboard' AND datname = current_database()"
            )
            cursor.execute("SELECT pg_sleep(0.03)")
    for thread in threads:
        thread.join(60)
    # Then all three slots are there, and the work went on
    assert len(done) > 100
    lent = [pool.getconn() for _ in range(3)]
    for each in lent:
        pool.putconn(each)
    pool.close()


@pytest.fixture
def limited_url(database_url, connection):
    """The database for a role that may open two connections: a server that has no more to give."""
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS limited")
        cursor.execute("CREATE ROLE limited LOGIN CONNECTION LIMIT 2")
    yield database_url.replace("postgresql://postgres@", "postgresql://limited@")
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE limited")


def test_where_the_server_has_no_more_connections_a_pool_waits_for_its_own(limited_url):
    # Given a pool for four, and a server that gives two
    pool = Pool(limited_url, size=4)
    lent = [pool.getconn(), pool.getconn()]
    got = []
    waiting = threading.Thread(target=lambda: got.append(pool.getconn(10)))
    waiting.start()
    # When one comes back
    pool.putconn(lent[0])
    # Then the third thread has it
    waiting.join(20)
    assert got == [lent[0]]
    # And a thread that waits in vain hears what the server said
    with pytest.raises(DatabaseUnavailable, match="too many connections"):
        pool.getconn(timeout_s=2)
    for each in (lent[1], got[0]):
        pool.putconn(each)
    pool.close()


def test_a_server_that_never_had_a_connection_to_give_is_said_at_once(limited_url):
    others = [psycopg2.connect(limited_url) for _ in range(2)]
    pool = Pool(limited_url, size=2)
    with pytest.raises(DatabaseUnavailable, match="too many connections"):
        pool.getconn()
    for each in others:
        each.close()
    wait_until(lambda: _lends(pool), what="a connection once there is one")
    pool.close()


def _lends(pool):
    try:
        with pool.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseUnavailable:
        return False
    return True


def test_no_statement_is_compiled(database_url):
    # Where Postgres may, it took up to 2 s for each rescue.
    connection = connect(database_url, autocommit=True)
    with connection.cursor() as cursor:
        cursor.execute("SHOW jit")
        assert cursor.fetchone() == ("off",)
    connection.close()
