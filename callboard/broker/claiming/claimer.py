"""One worker process's claims: whose turn it is, how many at once, and where the last claim ended."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from callboard.broker.claiming.claim import Claim
from callboard.broker.claiming.one_by_one import claim_singly, is_of_a_row
from callboard.broker.claiming.wariness import Wariness
from callboard.broker.ending.burial import take_back_singly
from callboard.broker.ending.verdict import Verdict
from callboard.db import CALL_TIMEOUT_S, deadline, sql
from callboard.db.connections.prepared import Prepared
from callboard.db.rows.values import is_of_a_value, said
from callboard.log import get_logger
from callboard.terms import DUTY_OVERDUE_S

log = get_logger(__name__)

#: How often a claim looks at everything again, for commits that came late, s.
FULL_LOOK_INTERVAL_S = 1.0
#: Where it passes very many dead index entries it is made less often, so that it takes this share of the time at the
#: most, and yet so often, s.
FULL_LOOK_SHARE = 0.05
FULL_LOOK_INTERVAL_MAX_S = 10.0

#: What a ring carries for messages that have come back to their old places, such as those of a dead worker.
LOOK_AT_EVERYTHING = "all"
#: A message that is committed this much later than a younger one is found without a full look, s: senders that run
#: beside each other overtake one another all the time.
LATE_COMMIT_S = 0.1
#: A level that ran empty is looked at from this long before on, s.
EMPTY_LEVEL_S = 5.0
#: A claim of a broken connection may still commit so long after, s.
RECLAIM_AGE_S = 10.0
#: No bound lies before it; Python's own end is near a moment that was written by hand.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
#: Queues and priorities that a process remembers; services have a handful.
LEVELS_MAX = 64

SESSION_SETTINGS = {
    # A role's own would be taken for what a row holds; the deadline of a call ends what takes too long.
    "statement_timeout": "0",
    # A plan is kept for longer than the table stays as it was: the one for an empty queue would read the whole table
    # for each claim of the backlog that comes after, until autovacuum looks at the table (measured with 200,000
    # messages: 86,000 buffers and 1.2 s in place of 1,200 and 1.5 ms).
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    # One plan for all values; left to itself, Postgres plans each claim of a backlog anew, which takes up to 1 ms.
    "plan_cache_mode": "force_generic_plan",
}

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
    #: Dead letters that were made of messages which cannot be claimed.
    buried: Sequence[Verdict] = ()


class Claimer:
    """Runs sql/claiming/claim.sql for one worker process."""

    def __init__(
        self,
        worker_id: str,
        queue_names: Iterable[str],
        *,
        is_prepared: bool,
        is_strict: bool = False,
        lease_ids: Callable[[], list[int]] = list,
    ) -> None:
        self._worker_id = worker_id
        #: Returns the leases that are known here.
        self._lease_ids = lease_ids
        #: In order of their turn: the queue that was served last stands last; in strict order, as they were named.
        self.queue_names = deque(queue_names)
        self._is_prepared = is_prepared
        self._is_strict = is_strict
        #: The queues that had more than their share at the last look; after one that found nothing it may be any.
        self._deep = set(self.queue_names)
        self._bounds: dict[tuple[str, int], datetime] = {}
        #: The queues and priorities that claims have brought, the latest last.
        self._levels: dict[tuple[str, int], None] = {}
        self._full_look_clock = float("-inf")
        self._full_look_wait_s = FULL_LOOK_INTERVAL_S
        #: What the last look took that was not a full one: a slow network is no reason to look less.
        self._bounded_look_s = float("inf")
        self._is_singly = False
        self._wariness = Wariness()
        self._statement = Prepared("callboard_claim", sql("claiming/claim"), _TYPES)

    def claim(self, connection: Any, limit: int) -> Claimed:
        """Claim up to limit messages."""
        if not self.queue_names:
            return Claimed([], may_be_more=False, due_in_s=None, has_suspects=False, was_full_look=True)
        if self._wariness.is_on:
            return self._claim_singly(connection, limit, None)
        began_clock = time.monotonic()
        is_full_look = began_clock - self._full_look_clock > self._full_look_wait_s
        if is_full_look:
            self._full_look_clock = began_clock
            self._bounds.clear()
        # Ceiling: the slots are shared out among the queues that can fill them. One of the others that has filled up
        # meanwhile comes first and may take all of this claim, and shares from the next one on.
        per_queue = limit if self._is_strict else -(-limit // max(len(self._deep), 1))
        try:
            rows = self._execute(connection, limit, per_queue)
        except TimeoutError:
            self._wariness.begin(limit)
            raise
        except Exception as error:
            if not is_of_a_row(error):
                raise
            return self._claim_singly(connection, limit, error)
        self._is_singly = False
        self._take_time(time.monotonic() - began_clock, is_full_look=is_full_look)
        # The row without an id comes last.
        now, due_in_s, has_suspects, looked_at = rows.pop()[-4:]
        claims = sorted((Claim._make(row[:-3]) for row in rows), key=lambda claim: claim.order)
        turns = list(self.queue_names)
        counts = self._take_note(claims)
        self._note_depths(turns, counts, per_queue, limit)
        gave_all = {name for name in looked_at if counts.get(name, 0) < per_queue}
        self._pass_over(now, claims, gave_all if len(claims) < limit else set())
        # A queue that was not looked at is paused: what waits in it may be old when it goes on.
        self._bounds = {level: moment for level, moment in self._bounds.items() if level[0] in looked_at}
        # Also where one queue got less than its share because those before it had used up the rest.
        may_be_more = bool(claims) and (len(claims) >= limit or max(counts.values()) >= per_queue)
        return Claimed(claims, may_be_more, due_in_s, has_suspects, is_full_look)

    def _claim_singly(self, connection: Any, limit: int, error: Exception | None) -> Claimed:
        """Claim message by message, as one of them makes the claim fail, or may, and bury that one."""
        if error is not None and not self._is_singly:
            log.warning("claim failed by what a row holds; messages are claimed one by one", error=said(error))
        self._is_singly = self._is_singly or error is not None
        before: Sequence[Verdict] = ()
        if error is not None and getattr(error, "pgcode", None) is None:
            # The claim was done, and its answer cannot be read.
            before = self._reclaim_singly(connection, age_s=0)
        looked = claim_singly(connection, self._worker_id, self.queue_names, limit)
        self._wariness.note_round(looked.found, looked.passed_over)
        # Some of them may lie behind the bounds.
        self.look_at_everything()
        claims = sorted(looked.claims, key=lambda claim: claim.order)
        may_be_more = bool(claims or looked.buried)
        return Claimed(claims, may_be_more, None, False, False, [*before, *looked.buried])

    def hear(self, rings: list[Any]) -> None:
        """Take note of the notifications that the next claim answers, and empty the list."""
        if any(ring.payload == LOOK_AT_EVERYTHING for ring in rings):
            self.look_at_everything()
        rings.clear()

    def look_at_everything(self) -> None:
        """Let the next claim be a full look: messages have come back behind the bounds, or may have unheard."""
        self._full_look_clock = float("-inf")

    def take_turn_alone(self, connection: Any) -> bool:
        """Become the one process of the database that runs suspects; False while another one is."""
        return self._one(connection, sql("claiming/take_turn_alone")) is not None

    def end_turn_alone(self, connection: Any) -> None:
        self._one(connection, sql("claiming/end_turn_alone"))

    def claim_alone(self, connection: Any) -> Claimed:
        """Claim one message that lost two workers, for a process that runs nothing else."""
        try:
            row = self._one(connection, sql("claiming/claim_alone"))
        except Exception as error:
            if not is_of_a_row(error):
                raise
            log.warning("message that lost two workers cannot be claimed", error=said(error))
            looked = claim_singly(connection, self._worker_id, self.queue_names, 1, is_alone=True)
            return Claimed(looked.claims, bool(looked.buried), None, True, False, looked.buried)
        claims = [] if row is None else [Claim(*row)]
        return Claimed(claims, may_be_more=False, due_in_s=None, has_suspects=bool(claims), was_full_look=False)

    def reclaim(self, connection: Any) -> Sequence[Verdict]:
        """Hand back what was claimed for this worker but never reached it; return what was buried instead."""
        parameters = {"worker_id": self._worker_id, "lease_ids": self._lease_ids()}
        try:
            with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
                cursor.execute(sql("claiming/reclaim"), parameters)
                # One of them may be why their claim was lost.
                self._wariness.begin(cursor.rowcount)
        except Exception as error:
            if not is_of_a_value(error):
                raise
            log.warning("lost claims are handed back one by one", error=said(error))
            return self._reclaim_singly(connection, RECLAIM_AGE_S)
        return ()

    def _reclaim_singly(self, connection: Any, age_s: float) -> Sequence[Verdict]:
        parameters = {"worker_id": self._worker_id, "lease_ids": self._lease_ids(), "age_s": age_s}
        with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
            cursor.execute(sql("claiming/find_unknown"), parameters)
            found = cursor.fetchall()
        return take_back_singly(connection, found, is_attempt=False)

    def _one(self, connection: Any, statement: str) -> Any:
        parameters = {
            "queue_names": list(self.queue_names),
            "worker_id": self._worker_id,
            "duty_overdue_s": DUTY_OVERDUE_S,
        }
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
                cursor.execute(sql("claiming/claim"), parameters)
            rows: list[Any] = cursor.fetchall()
            return rows

    def _take_time(self, seconds: float, *, is_full_look: bool) -> None:
        """Decide when the next full look comes, by what this one took beyond other looks."""
        if not is_full_look:
            self._bounded_look_s = seconds
            return
        wait_s = max((seconds - self._bounded_look_s) / FULL_LOOK_SHARE, FULL_LOOK_INTERVAL_S)
        # Step by step: a single slow one is the network's, or the machine's.
        self._full_look_wait_s = min(wait_s, 2 * self._full_look_wait_s, FULL_LOOK_INTERVAL_MAX_S)

    def _take_note(self, claims: list[Claim]) -> dict[str, int]:
        """Move the bounds and the turns; return the number of claims of each queue."""
        counts = Counter(claim.queue_name for claim in claims)
        # Claims come sorted, so the last of a queue and priority is its youngest.
        youngest = {(claim.queue_name, claim.priority): claim.available_at for claim in claims}
        for level, moment in youngest.items():
            self._bounds[level] = max(moment, EARLIEST) - timedelta(seconds=LATE_COMMIT_S)
            self._levels.pop(level, None)
            self._levels[level] = None
        if not self._is_strict:
            for queue_name in counts:
                self.queue_names.remove(queue_name)
                self.queue_names.append(queue_name)
        return counts

    def _note_depths(self, turns: list[str], counts: dict[str, int], per_queue: int, limit: int) -> None:
        """Note which queues had more than their share; of those that came too late in turn nothing is known anew."""
        if not counts:
            # Long jobs may come to all of them at once, and the first must not get every thread.
            self._deep = set(self.queue_names)
            return
        left = limit
        for queue_name in turns:
            if left <= 0:
                return
            count = counts.get(queue_name, 0)
            if count >= min(per_queue, left):
                self._deep.add(queue_name)
            else:
                self._deep.discard(queue_name)
            left -= count

    def _pass_over(self, now: datetime, claims: list[Claim], empty_queues: set[str]) -> None:
        """Bound the known levels that this claim found empty: all of some queues, and those before one that it took.

        Without this, the dead entries of a priority that has run empty would lie in front of each claim.
        """
        while len(self._levels) > LEVELS_MAX:
            del self._levels[next(iter(self._levels))]
        last = {claim.queue_name: claim.priority for claim in claims}
        for queue_name, priority in self._levels:
            if queue_name in empty_queues or (queue_name in last and priority < last[queue_name]):
                self._bounds.setdefault((queue_name, priority), now - timedelta(seconds=EMPTY_LEVEL_S))
