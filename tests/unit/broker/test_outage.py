"""Which losses of a connection are an outage."""

from __future__ import annotations

import logging

import psycopg2
import pytest

from callboard.broker.outages.outage import RECONNECT_WAIT_S, Outage, is_end_of_session
from callboard.errors import DatabaseUnavailable

ENDED = psycopg2.OperationalError("server closed the connection unexpectedly")


@pytest.fixture
def outage():
    return Outage(lost="connection was lost", back="connection is back", denied="database refuses")


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.message for record in caplog.records if record.levelname != "DEBUG"]


def test_a_session_that_ends_is_replaced_at_once_without_a_word(outage, said):
    assert outage.note_loss(ENDED) == 0
    outage.note_work()
    # And again, as often as something was done in between
    assert outage.note_loss(ENDED) == 0
    assert said() == []


def test_an_outage_is_said_once_with_its_end(outage, said):
    # Given a session that ends, and no other one to be had
    outage.note_loss(ENDED)
    assert outage.note_loss(DatabaseUnavailable("Postgres cannot be reached")) == RECONNECT_WAIT_S
    assert outage.note_loss(DatabaseUnavailable("Postgres cannot be reached")) == RECONNECT_WAIT_S
    outage.note_work()
    outage.note_work()
    assert said() == ["connection was lost", "connection is back"]


def test_sessions_that_end_before_anything_works_are_an_outage(outage, said):
    # As behind a pooler that takes clients and has no server
    assert outage.note_loss(ENDED) == 0
    assert outage.note_loss(ENDED) == RECONNECT_WAIT_S
    assert said() == ["connection was lost"]


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable("Postgres cannot be reached"),
        TimeoutError("Postgres did not answer within 5 s."),
        psycopg2.errors.UndefinedTable("no such table"),
        KeyError("ours"),
    ],
)
def test_what_is_no_end_of_a_session_is_said(outage, said, error):
    assert not is_end_of_session(error)
    assert outage.note_loss(error) == RECONNECT_WAIT_S
    assert said() == ["connection was lost"]


@pytest.fixture
def writing():
    """An outage of a loop whose work is nothing but the statement that may be denied."""
    return Outage(
        lost="connection was lost", back="connection is back", denied="database refuses", work_ends_denials=True
    )


def test_a_denial_that_work_ends_is_said_once_with_its_end_and_again_when_it_comes_again(writing, said):
    denial = psycopg2.errors.InsufficientPrivilege("permission denied for table queue")
    for _ in range(2):
        assert [writing.note_loss(denial), writing.note_loss(denial)] == [RECONNECT_WAIT_S] * 2
        assert writing.is_known
        writing.note_work()
    assert said() == ["database refuses", "connection is back"] * 2


def test_a_denial_is_said_once_where_other_work_goes_on_beside_it(outage, said):
    denial = psycopg2.errors.InsufficientPrivilege("permission denied for table queue")
    for _ in range(2):
        assert outage.note_loss(denial) == RECONNECT_WAIT_S
        outage.note_work()
    assert said() == ["database refuses"]
