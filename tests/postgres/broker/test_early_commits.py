"""What ends the transaction of completion() before its block does: effects without the message's end would double."""

from __future__ import annotations

import pytest

from callboard.broker import completion
from callboard.errors import CallboardError
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import opened
from tests.postgres.broker.test_verdicts import actor, dead, ended


def commit(connection):
    connection.commit()


def with_connection(connection):
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO effect VALUES (2)")


def set_autocommit(connection):
    connection.rollback()
    connection.autocommit = True


def set_session(connection):
    connection.rollback()
    connection.set_session(autocommit=True)


WAYS = [commit, with_connection, set_autocommit, set_session]


@pytest.fixture
def url(database_url):
    return database_url


@pytest.fixture
def db(url):
    with opened(url) as query:
        query("CREATE TABLE effect (n int)")
        yield query


def end_early(way):
    with completion() as connection:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO effect VALUES (1)")
        way(connection)


@pytest.mark.parametrize("way", WAYS)
def test_an_actor_that_ends_the_transaction_itself_writes_nothing_and_hears_why(broker, db, work, way):
    with work():
        actor(broker, lambda: end_early(way), actor_name="job", max_retries=0).send()
        wait_until(lambda: dead(db) or ended(db))
    [(text,)] = db("SELECT error_message FROM callboard.dead_letters")
    assert "commits at the end of its block" in text
    assert db("SELECT n FROM effect") == []


@pytest.mark.parametrize("way", WAYS)
def test_a_test_of_such_an_actor_finds_it_out_of_a_worker_too(broker, db, way):
    with pytest.raises(CallboardError, match="commits at the end of its block"):
        end_early(way)
    assert db("SELECT n FROM effect") == []
    # And the connection serves others as before
    with completion() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO effect VALUES (3)")
    assert db("SELECT n FROM effect") == [(3,)]


def test_what_is_rolled_back_inside_is_left_out_and_the_rest_is_written(broker, db, work):
    def job():
        with completion() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO effect VALUES (1)")
            connection.rollback()
            cursor.execute("INSERT INTO effect VALUES (2)")

    with work():
        actor(broker, job).send()
        wait_until(lambda: ended(db))
    assert db("SELECT n FROM effect") == [(2,)]
