"""What a lease decides when its message is there more than once: in one batch, or in two tables."""

from __future__ import annotations

from datetime import UTC, datetime

import dramatiq
import pytest

from callboard.broker.ending.verdict import Verdict
from callboard.broker.ending.verdict_writer import VerdictWriter
from callboard.broker.sending.row import OutgoingRow
from callboard.terms import DeadReason, Outcome
from tests.postgres.broker.fake_workers import Workers, opened


@pytest.fixture
def db(url):
    with opened(url) as query:
        yield query


@pytest.fixture
def workers(db):
    return Workers(db)


@pytest.fixture
def write(url, workers):
    """Write verdicts in one batch, and return what became of each."""
    written = []
    completions = VerdictWriter(lambda: url, workers.register(), written.extend)

    def write(*verdicts: Verdict) -> list[str]:
        written.clear()
        completions._write_until_done(list(verdicts))
        return [outcome.value for _, outcome in written]

    yield write
    completions._drop_connection()


def message() -> dramatiq.Message:
    return dramatiq.Message(queue_name="jobs", actor_name="job", args=(), kwargs={}, options={})


def verdict(message_id: str, lease_id: int, outcome: Outcome, **more) -> Verdict:
    return Verdict(message_id, "jobs", "job", lease_id, outcome, datetime.now(UTC), **more)


def lease(db) -> int:
    return db("SELECT lease_id FROM dramatiq.queue WHERE state = 'running'")[0][0]


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.RETRY, Outcome.DEAD, Outcome.RELEASED])
def test_a_late_verdict_beside_the_valid_one_of_its_message_is_lost(broker, db, workers, write, outcome):
    # Given a process that lost a message's lease and has claimed it again, so that it ran there twice
    sent = broker.enqueue(message())
    workers.lose_row()
    lost = lease(db)
    workers.rescue()
    workers.claim(workers.register())
    held = lease(db)
    # When both verdicts come in one batch, each with a next stage
    stages = [OutgoingRow.of(message(), delay_ms=0, default_priority=0) for _ in range(2)]
    reason = DeadReason.PERMANENT if outcome is Outcome.DEAD else None
    late = verdict(sent.message_id, lost, outcome, reason=reason, followups=(stages[0],))
    valid = verdict(sent.message_id, held, outcome, reason=reason, followups=(stages[1],))
    # Then only the valid one counts, and only its next stage is sent
    assert write(late, valid) == ["lost", outcome.value]
    ids = {row[0] for row in db("SELECT message_id::text FROM dramatiq.queue")} - {sent.message_id}
    assert ids == {stages[1].message_id}


def letters(db) -> list[tuple]:
    return db("SELECT message_id::text, reason, lost_workers FROM callboard.dead_letters")


@pytest.fixture
def dead_and_sent_again(broker, db, workers, write):
    """The id of a dead letter that somebody sent once more."""
    sent = broker.enqueue(message())
    workers.claim(workers.register())
    assert write(verdict(sent.message_id, lease(db), Outcome.DEAD, reason=DeadReason.PERMANENT)) == ["dead"]
    broker.enqueue(sent)
    assert letters(db) == [(sent.message_id, "permanent", 0)]
    return sent.message_id


def test_a_dead_message_that_is_sent_again_and_dies_again_replaces_its_letter(db, workers, write, dead_and_sent_again):
    workers.claim(workers.register())
    again = verdict(dead_and_sent_again, lease(db), Outcome.DEAD, reason=DeadReason.MAX_RETRIES)
    assert write(again) == ["dead"]
    assert letters(db) == [(dead_and_sent_again, "max_retries", 0)]
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]


def test_a_dead_message_that_is_sent_again_does_not_hold_up_the_rescue(broker, db, workers, dead_and_sent_again):
    # Given that message among others of a worker that is gone, at its third loss
    broker.enqueue(message())
    db("UPDATE dramatiq.queue SET lost_workers = 2 WHERE message_id = %s", dead_and_sent_again)
    worker_id = workers.register()
    workers.claim(worker_id)
    workers.claim(worker_id)
    db("DELETE FROM callboard.workers WHERE worker_id = %s", worker_id)
    # Then all are rescued
    assert sorted(row[2] for row in workers.rescue()) == ["dead", "lost"]
    assert letters(db) == [(dead_and_sent_again, "lost_worker", 3)]
