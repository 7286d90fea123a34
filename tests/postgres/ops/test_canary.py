"""Retrying with care: one, ten, all; and no further once the cause is back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from callboard.errors import DatabaseUnavailable
from callboard.ops.dead_letters import changes as dead_changes
from callboard.ops.dead_letters.canary import End, retry_by_canary
from callboard.ops.dead_letters.filter import DeadFilter
from tests.postgres.ops.conftest import ANN

CAUSE = "0123456789ab"
JOBS = DeadFilter(queue="jobs")


class Time:
    """A clock that only sleep() moves; meanwhile the workers do what they are told."""

    def __init__(self, work=lambda: None):
        self.now = 0.0
        self.sleeps = 0
        self._work = work

    def clock(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds
        self.sleeps += 1
        self._work()


@pytest.fixture
def letters(bury):
    return [bury(ago=timedelta(minutes=minutes)) for minutes in range(1, 31)]


def run(transactions, time, which=JOBS, **options):
    said = []
    canary = retry_by_canary(transactions, which, ANN, clock=time.clock, sleep=time.sleep, say=said.append, **options)
    return canary, said


def count(db, table):
    return db(f"SELECT count(*) FROM {table}")[0][0]


def test_when_all_is_well_one_then_ten_then_all_are_put_back(transactions, db, letters, fate):
    sizes = []

    def work():
        sizes.append(len(fate.queued()))
        for id_ in fate.queued():
            fate.end(id_)

    canary, said = run(transactions, Time(work))
    assert (canary.end, canary.changed.count, str(canary)) == (End.FINISHED, 30, "30 dead letters put back.")
    assert sizes == [1, 10]
    assert [line.partition(";")[0] for line in said] == ["1 put back", "1 done", "10 put back", "10 done"]
    assert (count(db, "callboard.dead_letters"), len(fate.queued())) == (0, 19)
    assert db("SELECT count, details FROM callboard.audit_log") == [(30, {"canary": True})]


@pytest.mark.parametrize("outcome", ["retry", "dead"])
def test_the_first_that_fails_of_its_old_cause_stops_it(transactions, db, letters, fate, outcome):
    canary, _ = run(transactions, Time(lambda: fate.fail(letters[-1], fingerprint=CAUSE, outcome=outcome)))
    assert (canary.end, canary.message_ids, canary.fingerprint) == (End.SAME_CAUSE, (letters[-1],), CAUSE)
    assert canary.changed.message_ids == (letters[-1],)
    assert count(db, "callboard.dead_letters") == (30 if outcome == "dead" else 29)
    assert f"Stopped after 1 dead letter: {letters[-1]} failed of the same cause again ({CAUSE})" in str(canary)
    assert "The others stay dead." in str(canary)


def test_one_of_the_ten_stops_it_as_well(transactions, db, letters, fate):
    def work():
        queued = fate.queued()
        if len(queued) == 1:
            fate.end(queued[0])
        else:
            fate.fail(queued[4], fingerprint=CAUSE)

    canary, said = run(transactions, Time(work))
    assert (canary.end, canary.changed.count, len(canary.message_ids)) == (End.SAME_CAUSE, 11, 1)
    assert count(db, "callboard.dead_letters") == 20
    assert len(said) == 3


def test_a_death_of_another_cause_stops_it_and_says_so(transactions, letters, fate):
    canary, _ = run(transactions, Time(lambda: fate.fail(letters[-1], fingerprint="ffffffffffff")))
    assert canary.end is End.OTHER_CAUSE
    assert f"of another cause: callboard dead show {letters[-1]}" in str(canary)


def test_a_failure_of_another_kind_that_is_tried_again_is_waited_for(transactions, letters, fate):
    steps = iter(
        [
            lambda: fate.fail(letters[-1], fingerprint="ffffffffffff", outcome="retry"),
            lambda: fate.end(letters[-1]),
            *[lambda: [fate.end(id_) for id_ in fate.queued()]] * 5,
        ]
    )

    def work():
        next(steps)()

    canary, _ = run(transactions, Time(work))
    assert canary.end is End.FINISHED


def test_one_that_does_not_end_in_time_stops_it(transactions, db, letters, fate):
    time = Time()
    canary, _ = run(transactions, time, wait_s=60)
    assert (canary.end, canary.changed.count, canary.message_ids) == (End.NOT_ENDED, 1, (letters[-1],))
    assert 60 <= time.now < 61 and time.sleeps < 100
    assert "had not ended after 60 s" in str(canary)
    assert fate.queued() == [letters[-1]]


def test_the_cause_that_comes_back_later_stops_the_rest(transactions, db, letters, fate, monkeypatch):
    monkeypatch.setattr(dead_changes, "BATCH_MAX", 5)
    monkeypatch.setattr("callboard.ops.dead_letters.canary.BATCH_MAX", 5)

    def work():
        for id_ in fate.queued():
            fate.end(id_)

    batches = []

    def fail_in_the_crowd(looked_at):
        batches.append(looked_at)
        # The ten were two batches of five.
        if batches == [1, 5, 5, 5]:
            fate.fail(fate.queued()[0], fingerprint=CAUSE)

    canary, _ = run(transactions, Time(work), progress=fail_in_the_crowd)
    assert (canary.end, canary.changed.count) == (End.SAME_CAUSE, 16)


def test_a_letter_that_is_held_is_passed_over(*, transactions, letters, db, bury, enqueue, fate):
    other = enqueue(dedupe_key="A")
    held = bury(dedupe_key="A", ago=timedelta(hours=1))

    def work():
        for id_ in fate.queued():
            if id_ != other:
                fate.end(id_)

    canary, _ = run(transactions, Time(work))
    assert (canary.end, canary.changed.count) == (End.FINISHED, 30)
    assert [letter.message_id for letter in canary.changed.held] == [held]


def test_one_that_somebody_threw_away_meanwhile_has_ended(transactions, letters, db, fate):
    canary, said = run(transactions, Time(lambda: db("DELETE FROM dramatiq.queue")))
    assert canary.end is End.FINISHED and "1 gone" in said


def test_nothing_to_retry_is_nothing_done(transactions, db):
    canary, said = run(transactions, Time())
    assert (canary.end, canary.changed.count, said) == (End.FINISHED, 0, [])
    assert count(db, "callboard.audit_log") == 0


def test_while_it_waits_it_holds_no_transaction_and_no_lock(transactions, db, letters, fate):
    seen = []

    def work():
        seen.extend(
            db(
                "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND (xact_start IS NOT NULL OR state <> 'idle')"
            )
        )
        for id_ in fate.queued():
            fate.end(id_)

    run(transactions, Time(work))
    assert seen == []


def test_a_database_that_is_lost_while_it_waits_is_waited_for(transactions, db, letters):
    lost = []

    def work():
        if not lost:
            lost.append(True)
            db(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    canary, _ = run(transactions, Time(work), wait_s=3)
    assert (canary.end, lost) == (End.NOT_ENDED, [True])

    def away():
        raise DatabaseUnavailable("away")

    with pytest.raises(DatabaseUnavailable, match="away Nothing was changed"):
        retry_by_canary(away, JOBS, ANN)
