"""A message that ends at the very moment when its process hands it back."""

from __future__ import annotations

from itertools import permutations

import dramatiq
import pytest

from callboard.broker.claiming.claim import Claim
from callboard.broker.ending.verdict import Decision
from callboard.broker.ending.verdict_writer import VerdictWriter
from callboard.broker.running.delivery import Delivery
from callboard.terms import DeadReason, Outcome
from tests.postgres.broker.fake_workers import Workers, opened

ENDS = [
    Decision(Outcome.DONE),
    Decision(Outcome.RETRY, wait_s=600, retries=1),
    Decision(Outcome.POSTPONED, wait_s=600, reason="busy"),
    Decision(Outcome.DEAD, reason=DeadReason.PERMANENT),
]


@pytest.fixture
def db(url):
    with opened(url) as query:
        yield query


@pytest.fixture
def delivery(broker, db):
    """The one message, claimed and running."""
    broker.enqueue(dramatiq.Message("jobs", "job", (), {}, {}))
    workers = Workers(db)
    [row] = workers.claimed(workers.register())
    delivery = Delivery.of(Claim._make(row[:-3]))
    delivery.start()
    return delivery


@pytest.fixture
def completions(url):
    """The writer of verdicts, not started, so that what it is given before makes one batch; and what it told."""
    told = []
    completions = VerdictWriter(
        lambda: url,
        "00000000-0000-0000-0000-000000000000",
        lambda written: told.extend((verdict.outcome, outcome) for verdict, outcome in written),
    )
    completions.told = told
    yield completions
    if completions.thread.ident is not None:
        completions.close()


def rows(db):
    """Where the message is, and what the queue knows of it."""
    return (
        db("SELECT attempt, retries, available_at > now() FROM dramatiq.queue"),
        db("SELECT outcome FROM callboard.message_history UNION ALL SELECT reason FROM callboard.dead_letters"),
    )


@pytest.mark.parametrize("decision", ENDS, ids=lambda decision: decision.outcome.value)
@pytest.mark.parametrize("order", list(permutations(["its end", "its release"])), ids=" before ".join)
def test_an_end_that_is_written_together_with_a_release_counts_alone(db, delivery, completions, decision, order):
    # Given a message that its thread ends and its process hands back, before either is written
    delivery.decision = decision
    verdicts = {"its end": delivery.verdict(), "its release": delivery.release_verdict()}
    for name in order:
        completions.submit(verdicts[name])
    # When they are written
    completions.start()
    assert completions.flush(10)
    # Then it ended, once
    assert completions.told == [(decision.outcome, decision.outcome)]
    queued, ended = rows(db)
    match decision.outcome:
        case Outcome.DONE:
            assert (queued, ended) == ([], [("done",)])
        case Outcome.DEAD:
            assert (queued, ended) == ([], [("permanent",)])
        case _:
            assert (queued, ended) == ([(1, decision.retries or 0, True)], [])
    assert (completions.unwritten, completions.lease_ids()) == (0, [])


@pytest.mark.parametrize("is_released_first", [True, False])
def test_of_an_end_and_a_release_that_are_written_apart_the_first_counts(db, delivery, completions, is_released_first):
    completions.start()
    verdicts = [delivery.verdict(), delivery.release_verdict()]
    for verdict in reversed(verdicts) if is_released_first else verdicts:
        completions.submit(verdict)
        assert completions.flush(10)
    assert [outcome for _, outcome in completions.told] == [
        Outcome.RELEASED if is_released_first else Outcome.DONE,
        Outcome.LOST,
    ]
    assert rows(db) == ([(0, 0, False)], []) if is_released_first else ([], [("done",)])
