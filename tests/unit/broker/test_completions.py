"""How much is written in one transaction."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from callboard.broker.ending.effects import Arrival, ResultRow
from callboard.broker.ending.verdict import TRACEBACK_MAX, AttemptError, Verdict
from callboard.broker.ending.verdict_writer import BATCH_BYTES_MAX, BATCH_MAX, VerdictWriter
from callboard.broker.sending.row import MESSAGE_BYTES_MAX, OutgoingRow
from callboard.terms import Outcome

TEXT = "x" * MESSAGE_BYTES_MAX
ROW = OutgoingRow("id", "jobs", TEXT, 0, 0, None)


def verdict(number, **more):
    return Verdict(str(number), "jobs", "job", number, Outcome.DONE, datetime.now(UTC), **more)


def first_batch(**more):
    completions = VerdictWriter(lambda: "", "worker", lambda _: None)
    for number in range(BATCH_MAX + 1):
        completions.submit(verdict(number, **more))
    return completions._take_batch()


def test_a_batch_of_small_verdicts_is_bounded_by_their_number():
    assert len(first_batch()) == BATCH_MAX


@pytest.mark.parametrize(
    "large",
    [
        {"followups": (ROW,)},
        {"results": (ResultRow("key", "id", TEXT.encode(), 1),)},
        {"arrival": Arrival("key", 1, [(ROW, None, None)])},
        {"message": TEXT},
    ],
    ids=lambda large: next(iter(large)),
)
def test_a_batch_of_large_verdicts_is_bounded_by_their_size(large):
    assert len(first_batch(**large)) == BATCH_BYTES_MAX // MESSAGE_BYTES_MAX


def test_tracebacks_count_too():
    error = AttemptError("Error", "", "x" * TRACEBACK_MAX, "0" * 12)
    assert len(first_batch(error=error)) == BATCH_BYTES_MAX // TRACEBACK_MAX


def test_one_verdict_is_written_whatever_its_size():
    completions = VerdictWriter(lambda: "", "worker", lambda _: None)
    completions.submit(verdict(1, followups=(ROW,) * 100))
    assert len(completions._take_batch()) == 1
