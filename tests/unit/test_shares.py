"""Parts of a pool: what is reserved for one kind of work, no other can take."""

from __future__ import annotations

import pytest

from callboard.db import Pool
from callboard.db.connections.shares import Part, Shares
from callboard.errors import DatabaseUnavailable


@pytest.fixture
def shares():
    parts = {"webhooks": Part(2, 4), "operators": Part(1, 4), "reads": Part(1, 2)}
    return Shares(Pool("postgresql://nobody@127.0.0.1:1/none"), 6, parts)


def take_all(shares, name):
    count = 0
    while True:
        try:
            shares.take(name, 0)
        except DatabaseUnavailable:
            return count
        count += 1


def test_what_is_reserved_stays_free_however_much_the_others_want(shares):
    # Two of six are in common
    assert take_all(shares, "operators") == 3
    assert take_all(shares, "webhooks") == 2
    assert take_all(shares, "reads") == 1


def test_no_part_takes_more_than_its_most(shares):
    assert take_all(shares, "reads") == 2
    assert take_all(shares, "operators") == 2


def test_what_is_given_back_is_for_whoever_may_have_it(shares):
    take_all(shares, "operators"), take_all(shares, "webhooks")
    shares.give_back("operators")
    assert take_all(shares, "webhooks") == 1


def test_a_part_whose_connections_are_busy_says_whose_they_are(shares):
    take_all(shares, "reads")
    with pytest.raises(DatabaseUnavailable, match="for reads were busy"):
        shares.take("reads", 0.01)


def test_a_connection_that_cannot_be_opened_is_not_counted(shares):
    for _ in range(5):
        with pytest.raises(DatabaseUnavailable, match="cannot be reached"), shares.part("reads").cursor(3):
            pass
    assert take_all(shares, "reads") == 2


def test_parts_that_reserve_more_than_there_is_are_refused():
    with pytest.raises(ValueError, match="reserve 3 connections, and the pool has 2"):
        Shares(Pool("postgresql://x/x"), 2, {"a": Part(2, 2), "b": Part(1, 1)})
