"""What must be true: every message, worker row and pause, as plain values that know nothing of SQL.

Time stands still in the model but for the jumps of pass_time(). Two moments that are equal here are told apart by
the transaction that set them, as they are by the database's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from callboard.broker.ending.verdict import Verdict
from callboard.broker.liveness.heartbeat import MAX_LOST_WORKERS
from callboard.terms import BEAT_OVERDUE_S, Outcome

#: The second look comes this long after the first, s.
SECOND_LOOK_S = 2
#: Claims that their worker does not know are handed back when they are older, s.
RECLAIM_AGE_S = 10
NEVER = float("inf")


@dataclass
class Entry:
    """A message from its commit on, whatever has become of it."""

    message_id: str
    queue_name: str
    priority: int
    key: str | None
    due_at: float
    #: The transaction that set due_at, and the place of the row among all rows.
    event: int
    seq: int
    state: str = "queued"
    attempt: int = 0
    retries: int = 0
    lost_workers: int = 0
    generation: int = 0
    lease_id: int | None = None
    worker_id: str | None = None
    claimed_at: float = 0.0
    last_lease_id: int = 0
    reason: str | None = None
    #: An operator asked it to stop while it ran.
    is_cancelled: bool = False
    #: The lease under which completion() wrote the effect.
    effect: int | None = None
    outcomes: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        return self.state in ("queued", "running")

    @property
    def moment(self) -> tuple[float, int]:
        return (self.due_at, self.event)

    @property
    def order(self) -> tuple[int, float, int, int]:
        return (self.priority, self.due_at, self.event, self.seq)

    def keep(self, outcome: str) -> None:
        self.outcomes[self.generation, self.attempt] = outcome

    def put_back(self) -> None:
        self.state, self.lease_id, self.worker_id = "queued", None, None


@dataclass
class WorkerRow:
    """A row of callboard.workers, and who holds its lock."""

    beat_at: float
    suspected_at: float | None = None
    #: Serial of the session that holds the lock of this row; None: it is free.
    lock_holder: int | None = None


class Model:
    """The tables as they must look."""

    def __init__(self) -> None:
        self.now = 0.0
        self.messages: dict[str, Entry] = {}
        self.workers: dict[str, WorkerRow] = {}
        #: The worker that leads; it may have gone.
        self.leader: str | None = None
        self.paused: dict[str, float] = {}
        #: Keys in transactions that are still open: a second sender would wait for them.
        self.keys_in_flight: set[tuple[str, str]] = set()
        self._events = 0
        self._seq = 0

    def begin(self) -> int:
        """Begin a transaction: its now() is later than that of every one before."""
        self._events += 1
        return self._events

    # Sending

    def holder(self, queue_name: str, key: str | None) -> Entry | None:
        """Return the live message that holds a dedupe key."""
        live = (entry for entry in self.messages.values() if entry.is_live)
        return next((e for e in live if key is not None and (e.queue_name, e.key) == (queue_name, key)), None)

    def store(
        self, message_id: str, queue_name: str, *, priority: int, key: str | None, delay_s: float, event: int
    ) -> Entry:
        """Store a message and return it, or the one that holds its place."""
        known = self.messages.get(message_id) or self.holder(queue_name, key)
        if known is not None:
            return known
        self._seq += 1
        entry = Entry(message_id, queue_name, priority, key, self.now + delay_s, event, self._seq)
        self.messages[message_id] = entry
        return entry

    # Claiming

    def is_paused(self, queue_name: str) -> bool:
        return self.paused.get(queue_name, -NEVER) > self.now

    def looked_at(self, worker_id: str, queue_names: Iterable[str]) -> list[str]:
        """Return the queues that a claim of this worker looks at."""
        return [name for name in queue_names if worker_id in self.workers and not self.is_paused(name)]

    def claimable(
        self,
        worker_id: str,
        queue_names: Iterable[str],
        bounds: dict[tuple[str, int], tuple[float, int]],
        *,
        per_queue: int,
        limit: int,
    ) -> list[Entry]:
        """Return what a claim must bring, in the order in which it runs."""
        if worker_id not in self.workers:
            return []
        chosen: list[Entry] = []
        for queue_name in queue_names:
            due = [
                entry
                for entry in self._due(queue_name)
                if entry.lost_workers < MAX_LOST_WORKERS - 1
                and entry.moment >= bounds.get((queue_name, entry.priority), (-NEVER, 0))
            ]
            chosen += sorted(due, key=lambda entry: entry.order)[:per_queue]
        return sorted(chosen[:limit], key=lambda entry: entry.order)

    def suspects(self, worker_id: str, queue_names: Iterable[str]) -> list[Entry]:
        """Return the messages that must run alone and could now, first the one whose turn it is."""
        if worker_id not in self.workers:
            return []
        due = [entry for queue_name in queue_names for entry in self._due(queue_name)]
        return sorted((e for e in due if e.lost_workers >= MAX_LOST_WORKERS - 1), key=lambda entry: entry.order)

    def next_due_in_s(self, worker_id: str, queue_names: Iterable[str]) -> float | None:
        if worker_id not in self.workers:
            return None
        served = [name for name in queue_names if not self.is_paused(name)]
        queued = (e for e in self.messages.values() if e.state == "queued" and e.queue_name in served)
        return min((e.due_at - self.now for e in queued if e.due_at > self.now), default=None)

    def _due(self, queue_name: str) -> list[Entry]:
        if self.is_paused(queue_name):
            return []
        queued = (e for e in self.messages.values() if e.state == "queued" and e.queue_name == queue_name)
        return [entry for entry in queued if entry.due_at <= self.now]

    def take(self, entry: Entry, worker_id: str, lease_id: int) -> None:
        """Note a claim: a lease of its own, greater than all before it."""
        assert entry.state == "queued", f"{entry} was claimed twice"
        assert lease_id > entry.last_lease_id, f"lease {lease_id} is not newer than {entry.last_lease_id}"
        entry.state, entry.worker_id, entry.claimed_at = "running", worker_id, self.now
        entry.lease_id = entry.last_lease_id = lease_id
        entry.attempt += 1

    # Ends of leases

    def holds(self, message_id: str, lease_id: int) -> bool:
        entry = self.messages[message_id]
        return entry.state == "running" and entry.lease_id == lease_id

    def end(self, verdicts: Sequence[Verdict], event: int) -> list[Outcome]:
        """Apply a batch of verdicts and return their outcomes at commit."""
        written = [self._apply(verdict, event) for verdict in verdicts]
        for verdict, outcome in zip(verdicts, written, strict=True):
            for row in verdict.followups if outcome is not Outcome.LOST else ():
                self.store(
                    row.message_id, row.queue_name, priority=row.priority, key=row.dedupe_key, delay_s=0, event=event
                )
        return written

    def _apply(self, verdict: Verdict, event: int) -> Outcome:
        if not self.holds(verdict.message_id, verdict.lease_id):
            return Outcome.LOST
        entry = self.messages[verdict.message_id]
        if verdict.outcome is Outcome.DISCARDED or (
            entry.is_cancelled and verdict.outcome not in (Outcome.DONE, Outcome.DEAD)
        ):
            entry.state = "discarded"
            if verdict.outcome is Outcome.RELEASED:
                entry.attempt -= 1
            else:
                entry.keep("discarded")
            return Outcome.DISCARDED
        match verdict.outcome:
            case Outcome.DONE:
                entry.state = "done"
            case Outcome.DEAD:
                entry.keep("dead")
                entry.state, entry.reason = "dead", str(verdict.reason)
            case Outcome.RELEASED:
                entry.attempt -= 1
                self._requeue(entry, 0, event)
            case outcome:
                entry.keep(outcome.value)
                entry.retries += outcome is Outcome.RETRY
                self._requeue(entry, verdict.wait_s, event)
        return verdict.outcome

    def _requeue(self, entry: Entry, wait_s: float, event: int) -> None:
        entry.put_back()
        entry.due_at, entry.event = self.now + wait_s, event

    def hand_back(self, entries: Iterable[Entry]) -> None:
        """Take claims back that do not count as attempts."""
        for entry in entries:
            entry.put_back()
            entry.attempt -= 1
            if entry.is_cancelled:
                entry.state = "discarded"

    def unknown_to(self, worker_id: str, lease_ids: Sequence[int]) -> list[Entry]:
        """Return the claims whose answer never reached their worker."""
        running = (e for e in self.messages.values() if e.state == "running" and e.worker_id == worker_id)
        return [e for e in running if self.now - e.claimed_at > RECLAIM_AGE_S and e.lease_id not in lease_ids]

    # Rescue

    def look(self) -> None:
        """Look for the dead once."""
        for row in self.workers.values():
            if not (self.is_overdue(row) or row.lock_holder is None):
                row.suspected_at = None
            elif row.suspected_at is None:
                row.suspected_at = self.now

    def is_overdue(self, row: WorkerRow) -> bool:
        return self.now - row.beat_at > BEAT_OVERDUE_S

    def rescue(self) -> list[tuple[str, str, str]]:
        """Take the messages of dead workers back; return queue, outcome and cause of each, sorted."""
        causes = {
            worker_id: "silent" if self.is_overdue(row) else "died"
            for worker_id, row in self.workers.items()
            if row.suspected_at is not None and self.now - row.suspected_at >= SECOND_LOOK_S
        }
        told = []
        for entry in self.messages.values():
            if entry.state == "running" and (entry.worker_id in causes or entry.worker_id not in self.workers):
                entry.keep("lost")
                entry.lost_workers += 1
                cause = causes.get(str(entry.worker_id), "unknown")
                is_dead = entry.lost_workers >= MAX_LOST_WORKERS
                entry.put_back()
                outcome = "discarded" if entry.is_cancelled else "dead" if is_dead else "lost"
                if outcome == "dead":
                    entry.state, entry.reason = "dead", "lost_worker"
                elif outcome == "discarded":
                    entry.state = "discarded"
                told.append((entry.queue_name, outcome, cause))
        for worker_id in causes:
            del self.workers[worker_id]
        return sorted(told)

    # Operators

    def discard(self, queue_name: str) -> None:
        for entry in self.messages.values():
            if entry.state == "queued" and entry.queue_name == queue_name:
                entry.state = "discarded"

    def cancel(self, entry: Entry) -> None:
        """Throw a queued message away, or ask a running one to stop."""
        if entry.state == "queued":
            entry.state = "discarded"
        elif entry.state == "running":
            entry.is_cancelled = True

    def revive(self, entry: Entry, event: int) -> None:
        """Bring a dead letter back with full retries and a new generation."""
        self._seq += 1
        entry.state, entry.reason, entry.seq = "queued", None, self._seq
        entry.attempt = entry.retries = entry.lost_workers = 0
        entry.generation += 1
        entry.is_cancelled = False
        self._requeue(entry, 0, event)
