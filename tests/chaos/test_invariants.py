"""The check that ends every scenario sees each kind of damage: a check that cannot fail proves nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.invariants import INVARIANTS, Evidence, Exit, Row, broken
from tests.chaos.journal import Run

A, B, C = "message-a", "message-b", "message-c"


def sound() -> Evidence:
    """What a good scenario leaves: one paid at once, one after a lost worker and a retry, one poison message."""
    return Evidence(
        sent={A, B, C},
        rows=[
            Row(A, "done", 1, 0, 0, lease_id=1, actor="pay"),
            Row(B, "done", 3, 1, 1, lease_id=8, actor="note"),
            Row(C, "dead", 3, 0, 3, reason="lost_worker"),
        ],
        runs=[
            Run(A, "pay", 1, 1, pid=10, began=0.0, ended=1.0),
            Run(B, "note", 1, 2, pid=11, began=0.0, ended=9.0),
            Run(B, "note", 2, 6, pid=10, began=5.0, ended=6.0, error="RuntimeError"),
            Run(B, "note", 3, 8, pid=10, began=7.0, ended=8.0),
            *(Run(C, "note", attempt, 10 + attempt, pid=20 + attempt, began=float(attempt)) for attempt in (1, 2, 3)),
        ],
        attempts=[(B, 1, "lost"), (B, 2, "retry"), *((C, attempt, "lost") for attempt in (1, 2, 3))],
        effects=[(A, 1)],
        counters={"done": 2, "retry": 1, "dead": 1, "rescued": 4, "lost": 1, "in_progress": 0},
        killed_at={21: 1.5, 22: 2.5, 23: 3.5},
        exits=[Exit(0, 2.0, 10.0)],
        connections=8,
        connections_max=10,
        advisory_locks=2,
        advisory_locks_max=3,
    )


def changed(rows=(), runs=(), **counters) -> Evidence:
    """Return the sound evidence with other rows and runs in the place of those of the same message and lease."""
    evidence = sound()
    evidence.rows = [next((r for r in rows if r.message_id == row.message_id), row) for row in evidence.rows]
    evidence.runs = [next((r for r in runs if r.lease_id == run.lease_id), run) for run in evidence.runs]
    evidence.counters = {**evidence.counters, **counters}
    return evidence


def without(message_id: str) -> Evidence:
    evidence = sound()
    evidence.rows = [row for row in evidence.rows if row.message_id != message_id]
    return evidence


def with_more(**more) -> Evidence:
    evidence = sound()
    for name, values in more.items():
        setattr(evidence, name, [*getattr(evidence, name), *values])
    return evidence


DONE_A, DONE_B = sound().rows[0], sound().rows[1]
FIRST_B = sound().runs[1]

BAD = {
    "a message that is nowhere": ("I1", without(A)),
    "a message that nobody sent": ("I1", with_more(rows=[Row("message-d", "done", 1, 0, 0)])),
    "a message in two places": ("I1", with_more(rows=[DONE_A])),
    "a message that never ended": ("I1", changed(rows=[replace(DONE_A, state="running")])),
    "an effect that happened twice": ("I2", with_more(effects=[(A, 1)])),
    "an effect that did not happen": ("I2", changed(rows=[replace(DONE_B, actor="pay")])),
    "an effect of a message that is not done": ("I2", with_more(effects=[(C, 11)])),
    "an effect of a message that is nowhere": ("I2", with_more(effects=[("message-d", 1)])),
    "an attempt too many": ("I3", changed(rows=[replace(DONE_B, attempt=4)])),
    "a fourth lost worker": ("I3", changed(rows=[replace(sound().rows[2], lost_workers=4, attempt=4)])),
    "a retry that is not on record": ("I3", changed(rows=[replace(DONE_B, attempt=4, retries=2)])),
    "a lease that ran twice": ("I3", with_more(runs=[sound().runs[0]])),
    "two runs at once under a held lease": (
        "I4",
        with_more(runs=[Run(A, "pay", 1, 0, pid=12, began=0.0, ended=0.5)]),
    ),
    "a late end that was not counted": ("I4", changed(lost=0)),
    "a run of a process that nobody ended": ("I4", with_more(runs=[Run(A, "pay", 1, 0, pid=99, began=0.0)])),
    "a late verdict that counted": ("I5", changed(rows=[replace(DONE_B, lease_id=2)])),
    "an end by an attempt that was lost": ("I5", changed(rows=[replace(DONE_B, attempt=1, retries=0, lost_workers=0)])),
    "an effect of another lease": ("I5", replace(sound(), effects=[(A, 99)])),
    "too many connections": ("I6", replace(sound(), connections=11)),
    "a lock that was left behind": ("I6", replace(sound(), advisory_locks=4)),
    "an end that was not counted": ("I7", changed(done=1)),
    "an end that was counted twice": ("I7", changed(done=3)),
    "a rescue that was not counted": ("I7", changed(rescued=3)),
    "a slot that was never freed": ("I7", changed(in_progress=1)),
    "a process that had to be killed": ("I8", with_more(exits=[Exit(None, 30.0, 10.0)])),
    "a process that ended with an error": ("I8", with_more(exits=[Exit(1, 1.0, 10.0)])),
    "a fault in a log": ("I8", with_more(faults=["You've found a bug in Dramatiq"])),
}


def test_sound_evidence_breaks_nothing():
    assert broken(sound()) == []


@pytest.mark.parametrize("damage", BAD)
def test_each_damage_breaks_its_invariant(damage):
    name, evidence = BAD[damage]
    assert name in {finding.split()[0] for finding in broken(evidence)}


def test_every_invariant_has_its_damage():
    assert {name for name, _ in BAD.values()} == set(INVARIANTS)


def test_what_was_in_flight_at_a_kill_may_be_uncounted():
    evidence = changed(done=1)
    evidence.in_flight = 1
    assert broken(evidence) == []


def test_waiting_messages_are_allowed_where_the_scenario_says_so():
    evidence = sound()
    evidence.sent.add("message-d")
    evidence.rows.append(Row("message-d", "queued", 0, 0, 0))
    assert broken(evidence) == ["I1 found messages that are still ['queued']"]
    evidence.may_be_queued = True
    assert broken(evidence) == []
