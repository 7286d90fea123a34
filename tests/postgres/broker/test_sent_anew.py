"""An id that is sent anew after its end: a new message, whose attempts are told."""

from __future__ import annotations

import pytest

from callboard.errors import Postponed
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import Workers, opened
from tests.postgres.broker.test_verdicts import actor, dead


def attempts(db):
    return db("SELECT attempt, outcome, error_class FROM callboard.attempts ORDER BY attempt")


@pytest.fixture
def died(broker, db, work):
    """A message that died at its second attempt, and what its next attempts raise."""
    errors = [KeyError("first life"), KeyError("first life")]

    def job():
        raise errors.pop(0)

    message = actor(broker, job, max_retries=1).send()
    with work():
        wait_until(lambda: dead(db))
    assert attempts(db) == [(1, "retry", "KeyError"), (2, "dead", "KeyError")]
    return message, errors


@pytest.mark.parametrize("outcome", ["retry", "postponed"])
def test_its_attempts_take_the_place_of_the_former_ones(broker, db, work, died, outcome):
    message, errors = died
    # Given the id of a dead message, sent once more
    later = Postponed("busy", wait_s=600)
    errors += [ValueError("second life") if outcome == "retry" else later, ValueError("second life")]
    broker.enqueue(message)
    with work():
        wait_until(lambda: attempts(db)[0][1:] != ("retry", "KeyError"), what="the first new attempt")
        wait_until(lambda: outcome == "postponed" or dead(db) == [("max_retries", "ValueError")], what="the new death")
    # Then what it fails with now is kept; what is left of the former life lies behind it
    expected = [(1, "retry", "ValueError"), (2, "dead", "ValueError")]
    assert attempts(db) == (
        expected if outcome == "retry" else [(1, "postponed", "Postponed"), (2, "dead", "KeyError")]
    )


def test_a_lost_worker_of_the_new_life_is_told_too(broker, url, db, died):
    message, _ = died
    broker.enqueue(message)
    db(
        "UPDATE dramatiq.queue SET state = 'running', attempt = 1, lease_id = 1, worker_id = gen_random_uuid(), "
        "claimed_at = clock_timestamp()"
    )
    with opened(url) as query:
        assert [row[2] for row in Workers(query).rescue()] == ["lost"]
    assert attempts(db) == [(1, "lost", "LostWorker"), (2, "dead", "KeyError")]
