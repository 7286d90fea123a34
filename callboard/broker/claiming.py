"""One worker process's claims: whose turn it is, how many at once, and where the last claim ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from callboard.broker.delivery import Claim
from callboard.db import CALL_TIMEOUT_S, deadline, sql
from callboard.db.prepared import Prepared

#: How often a claim looks at everything again, for commits that came late, s.
FULL_LOOK_INTERVAL_S = 1.0

_TYPES = {
    "queue_names": "text[]",
    "worker_id": "uuid",
    "bound_queues": "text[]",
    "bound_priorities": "integer[]",
    "bound_moments": "timestamptz[]",
    "per_queue": "integer",
    "limit": "integer",
}


class Claimed(NamedTuple):
    """What one claim brought."""

    claims: list[Claim]
    #: A queue gave all it was asked for, so that more may be ready.
    may_be_more: bool
    #: Seconds until the next message falls due; None: none waits.
    due_in_s: float | None
    #: A message waits that must run alone.
    has_suspects: bool
    #: Everything was looked at, also what became ready behind the bounds: a late commit, a rescued message.
    was_full_look: bool


class Claimer:
    """Runs sql/queue/claim.sql for one worker process."""

    def __init__(
        self, worker_id: str, queue_names: Iterable[str], *, is_prepared: bool, is_strict: bool = False
    ) -> None:
        self._worker_id = worker_id
        #: In order of their turn: the queue that was served last stands last; in strict order, as they were named.
        self.queue_names = deque(queue_names)
        self._is_prepared = is_prepared
        self._is_strict = is_strict
        self._bounds: dict[tuple[str, int], datetime] = {}
        self._full_look_clock = float("-inf")
        self._statement = Prepared("callboard_claim", sql("queue/claim"), _TYPES)

    def claim(self, connection: Any, limit: int) -> Claimed:
        """Claim up to limit messages."""
        if not self.queue_names:
            return Claimed([], may_be_more=False, due_in_s=None, has_suspects=False, was_full_look=True)
        is_full_look = time.monotonic() - self._full_look_clock > FULL_LOOK_INTERVAL_S
        if is_full_look:
            self._full_look_clock = time.monotonic()
            self._bounds.clear()
        # Ceiling: the slots are shared out, and what one queue does not need, the next look gives to the others.
        per_queue = limit if self._is_strict else -(-limit // len(self.queue_names))
        rows = self._execute(connection, limit, per_queue)
        # The row without an id comes last.
        due_in_s, has_suspects = rows.pop()[-2:]
        claims = sorted((Claim._make(row[:-2]) for row in rows), key=lambda claim: claim.order)
        counts = self._take_note(claims)
        return Claimed(claims, bool(counts) and max(counts.values()) >= per_queue, due_in_s, has_suspects, is_full_look)

    def take_turn_alone(self, connection: Any) -> bool:
        """Become the one process of the database that runs suspects; False while another one is."""
        return bool(self._one(connection, "SELECT pg_try_advisory_lock(hashtext('callboard.alone'), 0)")[0])

    def end_turn_alone(self, connection: Any) -> None:
        self._one(connection, "SELECT pg_advisory_unlock(hashtext('callboard.alone'), 0)")

    def claim_alone(self, connection: Any) -> Claim | None:
        """Claim one message that lost two workers, for a process that runs nothing else."""
        row = self._one(connection, sql("queue/claim_alone"))
        return None if row is None else Claim(*row)

    def reclaim(self, connection: Any, lease_ids: list[int]) -> None:
        """Hand back what was claimed for this worker but never reached it."""
        parameters = {"worker_id": self._worker_id, "lease_ids": lease_ids}
        with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
            cursor.execute(sql("workers/reclaim"), parameters)

    def _one(self, connection: Any, statement: str) -> Any:
        parameters = {"queue_names": list(self.queue_names), "worker_id": self._worker_id}
        with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchone()

    def _execute(self, connection: Any, limit: int, per_queue: int) -> list[Any]:
        parameters = {
            "queue_names": list(self.queue_names),
            "worker_id": self._worker_id,
            "bound_queues": [queue for queue, _ in self._bounds],
            "bound_priorities": [priority for _, priority in self._bounds],
            "bound_moments": list(self._bounds.values()),
            "per_queue": per_queue,
            "limit": limit,
        }
        with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
            if self._is_prepared:
                self._statement.execute(cursor, parameters)
            else:
                cursor.execute(sql("queue/claim"), parameters)
            rows: list[Any] = cursor.fetchall()
            return rows

    def _take_note(self, claims: list[Claim]) -> dict[str, int]:
        """Move the bounds and the turns; return the number of claims of each queue."""
        counts: dict[str, int] = {}
        for claim in claims:
            counts[claim.queue_name] = counts.get(claim.queue_name, 0) + 1
            # Claims come sorted, so the last of a queue and priority is its youngest.
            self._bounds[claim.queue_name, claim.priority] = claim.available_at
        if not self._is_strict:
            for queue_name in counts:
                self.queue_names.remove(queue_name)
                self.queue_names.append(queue_name)
        return counts
