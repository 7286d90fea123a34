"""What must be true after every scenario, whatever died in it.

I1  Nothing is lost: each message whose send() returned is done, dead or (where the scenario says so) still queued,
    in exactly one place; and nothing is there that nobody sent.
I2  An effect written through completion() happened exactly once for each message that is done, and for no other.
I3  Claims are bounded and all accounted for: attempt = runs that ended + retries + lost workers.
I4  Two runs of a message overlap only if the first one's lease was lost, and that was counted.
I5  A late verdict changed nothing: what ended a message is the newest lease of its runs.
I6  Connections stay within the budget, and no lock is left but one a worker and the leader's.
I7  Counters equal the tables, but for what was in flight at a kill.
I8  Every process that was asked to end did so within its grace, with its exit code, and logged no fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from callboard.broker.liveness.heartbeat import MAX_LOST_WORKERS
from tests.chaos.journal import Run

#: Retries a message of tests/chaos/jobs.py may have: MAX_RETRY_ATTEMPTS by default.
RETRIES_MAX = 5
#: How long a process that ends may still be inside a run that it has handed back: no thread can be ended from outside.
LEAVING_S = 10.0
#: Actors whose effect is written through completion().
PAYING = {"pay", "pay_when"}


@dataclass(frozen=True, slots=True)
class Row:
    """A message where it stands in a table at the end."""

    message_id: str
    #: queued, running, done or dead.
    state: str
    attempt: int
    retries: int
    lost_workers: int
    lease_id: int | None = None
    reason: str | None = None
    actor: str = "note"


@dataclass(frozen=True, slots=True)
class Exit:
    """A worker that was asked to end."""

    code: int | None
    seconds: float
    grace_s: float
    #: Told twice, Dramatiq's command says with a 1 that it was not let finish.
    code_expected: int = 0


@dataclass
class Evidence:
    """All that a scenario left behind."""

    sent: set[str] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    #: Rows of callboard.attempts: (message id, attempt, outcome).
    attempts: list[tuple[str, int, str]] = field(default_factory=list)
    #: Rows of chaos_effects: (message id, lease id).
    effects: list[tuple[str, int]] = field(default_factory=list)
    #: Sums over all workers: done, retry, dead, lost, rescued, in_progress.
    counters: Mapping[str, float] = field(default_factory=dict)
    #: When each process that was killed, or was told to end, was gone.
    killed_at: Mapping[int, float] = field(default_factory=dict)
    left_at: Mapping[int, float] = field(default_factory=dict)
    exits: list[Exit] = field(default_factory=list)
    #: Lines of logs that no worker should write.
    faults: list[str] = field(default_factory=list)
    connections: int = 0
    connections_max: int = 0
    advisory_locks: int = 0
    advisory_locks_max: int = 0
    #: The scenario ends with messages still waiting.
    may_be_queued: bool = False
    #: Messages in flight when processes or connections were killed, all kills together.
    in_flight: int = 0


def broken(evidence: Evidence) -> list[str]:
    """Return one sentence for each way in which an invariant does not hold; none if all do."""
    return [f"{name} {what}" for name, check in INVARIANTS.items() for what in check(evidence)]


def _nothing_is_lost(evidence: Evidence) -> Iterator[str]:
    places = Counter(row.message_id for row in evidence.rows)
    missing = evidence.sent - places.keys()
    if missing:
        yield f"lost {len(missing)} messages: {_some(missing)}"
    if unknown := places.keys() - evidence.sent:
        yield f"found {len(unknown)} messages that nobody sent: {_some(unknown)}"
    if doubled := [message_id for message_id, count in places.items() if count > 1]:
        yield f"found {len(doubled)} messages in two places: {_some(doubled)}"
    open_states = {row.state for row in evidence.rows} - {"done", "dead"}
    if open_states - ({"queued"} if evidence.may_be_queued else set()):
        yield f"found messages that are still {sorted(open_states)}"


def _effects_happen_once(evidence: Evidence) -> Iterator[str]:
    counts = Counter(message_id for message_id, _ in evidence.effects)
    for row in evidence.rows:
        expected = int(row.state == "done" and row.actor in PAYING)
        if counts.pop(row.message_id, 0) != expected:
            yield f"saw not {expected} effects of {row.state} message {row.message_id}"
    if counts:
        yield f"saw effects of messages that are nowhere: {_some(counts)}"


def _claims_are_accounted_for(evidence: Evidence) -> Iterator[str]:
    noted = Counter((message_id, outcome) for message_id, _, outcome in evidence.attempts)
    for row in evidence.rows:
        if row.lost_workers > MAX_LOST_WORKERS or row.retries > RETRIES_MAX:
            yield f"saw {row.lost_workers} lost workers and {row.retries} retries of {row.message_id}"
        # The last run of a message that ended by itself; the one that lost its third worker is among the lost ones.
        own = int(row.state == "done" or (row.state == "dead" and row.reason != "lost_worker"))
        if row.attempt != own + row.retries + row.lost_workers:
            yield (
                f"counted {row.attempt} attempts of {row.state} message {row.message_id}, with {row.retries} retries "
                f"and {row.lost_workers} lost workers"
            )
        if noted[row.message_id, "retry"] != row.retries or noted[row.message_id, "lost"] != row.lost_workers:
            yield f"found other attempts of {row.message_id} on record than its counters say"
    if twice := [lease_id for lease_id, count in Counter(run.lease_id for run in evidence.runs).items() if count > 1]:
        yield f"saw leases that ran twice: {_some(map(str, twice))}"


def _overlaps_are_lost_leases(evidence: Evidence) -> Iterator[str]:
    lost = {(message_id, attempt) for message_id, attempt, outcome in evidence.attempts if outcome == "lost"}
    late = 0
    for first, second in _successive_runs(evidence.runs):
        ended = first.ended if first.ended is not None else evidence.killed_at.get(first.pid, float("inf"))
        was_handed_back = (
            first.ended is None and evidence.left_at.get(first.pid, float("inf")) < second.began + LEAVING_S
        )
        if ended <= second.began or was_handed_back:
            continue
        if (first.message_id, first.attempt) not in lost:
            yield f"saw {first.message_id} run twice at once, in {first.pid} and {second.pid}, with its lease held"
        late += first.ended is not None
    if evidence.counters.get("lost", 0) < late:
        yield f"saw {late} runs end without their lease, and only {evidence.counters.get('lost', 0):g} counted"


def _late_verdicts_change_nothing(evidence: Evidence) -> Iterator[str]:
    newest: dict[str, int] = {}
    for run in evidence.runs:
        newest[run.message_id] = max(newest.get(run.message_id, 0), run.lease_id)
    lost = {(message_id, attempt) for message_id, attempt, outcome in evidence.attempts if outcome == "lost"}
    leases = dict(evidence.effects)
    for row in evidence.rows:
        if row.state != "done":
            continue
        if row.lease_id != newest.get(row.message_id):
            yield f"saw {row.message_id} ended by lease {row.lease_id}, and run last under {newest.get(row.message_id)}"
        if (row.message_id, row.attempt) in lost:
            yield f"saw {row.message_id} ended by an attempt that was lost"
        if leases.get(row.message_id, row.lease_id) != row.lease_id:
            yield f"saw {row.message_id} ended by lease {row.lease_id}, with the effect of {leases[row.message_id]}"


def _connections_stay_within_the_budget(evidence: Evidence) -> Iterator[str]:
    if evidence.connections > evidence.connections_max:
        yield f"saw {evidence.connections} connections, the budget is {evidence.connections_max}"
    if evidence.advisory_locks > evidence.advisory_locks_max:
        yield f"saw {evidence.advisory_locks} advisory locks, expected {evidence.advisory_locks_max} at most"


def _counters_equal_the_tables(evidence: Evidence) -> Iterator[str]:
    outcomes = Counter(outcome for _, _, outcome in evidence.attempts)
    truth = {
        "done": sum(row.state == "done" for row in evidence.rows),
        "dead": sum(row.state == "dead" for row in evidence.rows),
        "retry": outcomes["retry"],
        "rescued": outcomes["lost"],
    }
    for name, expected in truth.items():
        counted = evidence.counters.get(name, 0)
        # A process may die between its commit and its count; nothing may be counted that did not happen.
        if not expected - evidence.in_flight <= counted <= expected:
            yield f"counted {counted:g} {name}, the tables have {expected} (in flight at kills: {evidence.in_flight})"
    if evidence.counters.get("in_progress", 0):
        yield f"counted {evidence.counters['in_progress']:g} messages in progress after the last one"


def _processes_end_well(evidence: Evidence) -> Iterator[str]:
    for each in evidence.exits:
        if each.code != each.code_expected or each.seconds > each.grace_s:
            yield f"saw a worker end with {each.code} after {each.seconds:.1f} s of {each.grace_s:g} s"
    for line in evidence.faults:
        yield f"read in a log: {line}"


INVARIANTS: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "I1": _nothing_is_lost,
    "I2": _effects_happen_once,
    "I3": _claims_are_accounted_for,
    "I4": _overlaps_are_lost_leases,
    "I5": _late_verdicts_change_nothing,
    "I6": _connections_stay_within_the_budget,
    "I7": _counters_equal_the_tables,
    "I8": _processes_end_well,
}


def _successive_runs(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    by_message: dict[str, list[Run]] = {}
    for run in runs:
        by_message.setdefault(run.message_id, []).append(run)
    for group in by_message.values():
        yield from pairwise(sorted(group, key=lambda run: run.lease_id))


def _some(names: Iterator[str] | set[str] | Mapping[str, int] | Sequence[str]) -> str:
    return ", ".join(sorted(names)[:3])
