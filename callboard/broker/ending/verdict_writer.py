"""Write verdicts in batches: a thread of its own, one transaction a batch, until the database has them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import accumulate, islice
from typing import Any

import psycopg2

from callboard.broker.context import set_current_delivery
from callboard.broker.ending.burial import bury
from callboard.broker.ending.parameters import fence, without_nul
from callboard.broker.ending.statements import RowLocked, outcomes_of, write_verdicts
from callboard.broker.ending.verdict import AttemptError, Verdict, one_of_each_lease
from callboard.broker.outages.failing import Failing
from callboard.broker.outages.outage import Outage
from callboard.db import CALL_TIMEOUT_S, RECONNECT_ERRORS, connect, deadline, sql
from callboard.db.rows.values import is_of_a_value, said
from callboard.errors import BrokerUnavailable
from callboard.log import get_logger
from callboard.terms import DeadReason, Outcome

log = get_logger(__name__)

#: Verdicts in one transaction.
BATCH_MAX = 1_000
#: Bytes of results, next stages and other texts in one transaction; it must be written within the deadline of a call.
BATCH_BYTES_MAX = 4 * 1024 * 1024
SESSION_SETTINGS = {
    # Well below the deadline, so that a locked row is told from a database that is away.
    "lock_timeout": "500ms",
    # A role's own would cut off a batch again and again; the deadline of a call ends what takes too long.
    "statement_timeout": "0",
    # Verdicts look rows up by their primary key. What the planner knows of the table is a few minutes old, and of a
    # queue that was empty then, it thinks that reading all of it is cheaper.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
#: While verdicts come faster than this many a write, the next write waits a moment for more of them.
CROWD = 8
#: How long the first of them waits at the most, s; and with how many none does.
LINGER_S = 0.01
LINGER_MAX = 250
#: Wait before a row is tried again that somebody has locked, s; the verdicts of others wait for it, too.
LOCKED_WAIT_S = 0.1

#: Refusals of everything rather than of one verdict: a standby after a failover, a full disk that the provider made
#: read-only, a missing grant, a schema that is being restored. They pass, and are waited for.
UNFIT_DATABASE = (
    psycopg2.errors.ReadOnlySqlTransaction,
    psycopg2.errors.InsufficientPrivilege,
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.InvalidSchemaName,
)

#: What is waited for, unless it is about a value.
AWAY = (*RECONNECT_ERRORS, *UNFIT_DATABASE)

Listener = Callable[[Sequence[tuple[Verdict, Outcome]]], None]


class VerdictWriter:
    """The verdicts of one worker process.

    on_written is called after each commit with every verdict and its outcome at commit, which is LOST where the
    lease had passed on, and DISCARDED where an operator's cancellation came first.
    """

    def __init__(
        self, url: Callable[[], str], worker_id: str, on_written: Listener, *, is_prepared: bool = False
    ) -> None:
        self._url = url
        self._worker_id = worker_id
        self._on_written = on_written
        self._is_prepared = is_prepared
        self._waiting: deque[Verdict] = deque()
        #: Since when the first of them waits.
        self._first_clock = 0.0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        #: Somebody waits until all is written: no time to linger.
        self._flushes = 0
        self._unwritten = 0
        self._owed: set[int] = set()
        self._postponed: set[int] = set()
        self._is_closing = False
        self._outage = Outage(
            lost="database is away; verdicts wait",
            back="database is back; verdicts are written",
            denied="database refuses verdicts; they wait",
            denials=UNFIT_DATABASE,
            work_ends_denials=True,
        )
        self.failing = Failing("verdicts")
        #: Leases whose verdicts were tried and not answered: the commit may have happened all the same.
        self._unanswered: set[int] = set()
        self._connection: Any = None
        self.thread = threading.Thread(target=self._run, name="callboard-completions", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def submit(self, verdict: Verdict) -> None:
        with self._lock:
            self._waiting.append(verdict)
            self._unwritten += 1
            self._owed.add(verdict.lease_id)
            count = len(self._waiting)
            if count == 1:
                self._first_clock = time.monotonic()
            if count in (1, LINGER_MAX):
                self._changed.notify_all()

    @property
    def unwritten(self) -> int:
        """How many verdicts the database does not have yet."""
        return self._unwritten

    def lease_ids(self) -> list[int]:
        """Return the leases whose verdicts the database does not have yet."""
        with self._changed:
            return list(self._owed)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is written; return whether it was in time."""
        until = time.monotonic() + timeout_s
        with self._changed:
            self._flushes += 1
            self._changed.notify_all()
            try:
                while self._unwritten:
                    if not self.thread.is_alive() or not self._changed.wait(max(until - time.monotonic(), 0)):
                        return False
            finally:
                self._flushes -= 1
        return True

    def close(self, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Write what is left and end the thread; what cannot be written runs again elsewhere."""
        if not self.flush(timeout_s):
            log.warning("verdicts were left unwritten; their messages will run again", count=self._unwritten)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self.thread.join(timeout_s)

    def _run(self) -> None:
        set_current_delivery(None)  # For hooks that ask: it is none of an actor's threads.
        last_count = 0
        while True:
            with self._changed:
                while not self._waiting and not self._is_closing:
                    self._changed.wait()
                if not self._waiting:
                    break
                if last_count >= CROWD:
                    self._linger()
                last_count = len(self._waiting)
                batch = self._take_batch()
            self._write_until_done(one_of_each_lease(batch))
            with self._changed:
                self._unwritten -= len(batch)
                self._owed.difference_update({verdict.lease_id for verdict in batch} - self._postponed)
                self._postponed.clear()
                self._changed.notify_all()
        self._drop_connection()

    def _linger(self) -> None:
        """Let a batch grow while messages end fast: a write of few costs the database as much as one of many."""
        until = self._first_clock + LINGER_S
        while len(self._waiting) < LINGER_MAX and not self._flushes and not self._is_closing:
            left_s = until - time.monotonic()
            if left_s <= 0 or not self._changed.wait(left_s):
                return

    def _take_batch(self) -> list[Verdict]:
        sizes = accumulate(verdict.size_bytes for verdict in islice(self._waiting, BATCH_MAX))
        count = max(sum(size <= BATCH_BYTES_MAX for size in sizes), 1)
        self._first_clock = time.monotonic()  # Of those that are left, if any.
        return [self._waiting.popleft() for _ in range(count)]

    def _write_until_done(self, batch: list[Verdict]) -> None:
        while batch:
            try:
                written = self._write(batch)
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected, RowLocked, BrokerUnavailable):
                # The last one is a next stage whose dedupe key an open transaction holds.
                self._write_around_a_lock(batch)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end this thread
                if is_of_a_value(error) or not isinstance(error, AWAY):
                    batch = self._set_aside(batch, error)
                    continue
                pause_s = self._outage.note_loss(error, count=self._unwritten)
                self.failing.begin(error)
                self._unanswered.update(verdict.lease_id for verdict in batch)
                self._drop_connection()
                if self._is_closing:
                    return
                time.sleep(pause_s)
                continue
            self._outage.note_work()
            self.failing.end()
            self._report(written)
            return

    def _set_aside(self, batch: list[Verdict], error: Exception) -> list[Verdict]:
        """Keep one verdict that cannot be stored from holding up the others: that one gets another fate."""
        self._drop_connection()
        if len(batch) > 1:
            # By halves: of a thousand, the one is found in ten steps.
            middle = len(batch) // 2
            self._write_until_done(batch[:middle])
            self._write_until_done(batch[middle:])
            return []
        verdict = batch[0]
        log.error(
            "verdict could not be stored", message_id=verdict.message_id, outcome=verdict.outcome, error=said(error)
        )
        failure = AttemptError.of(error)
        if verdict.has_effects:
            # The actor succeeded, but its next stage can never be stored: that is for a person to see.
            verdict = verdict._replace(followups=(), results=(), arrival=None)
            return [verdict._replace(outcome=Outcome.DEAD, reason=DeadReason.INVALID, error=failure)]
        if verdict.message is not None:
            # Options that Postgres cannot hold, such as a traceback with a NUL. Dramatiq's own Retries counts in them,
            # so they are kept without it; where that does not help, the stored message is kept instead.
            kept = without_nul(verdict.message)
            return [verdict._replace(message=kept if kept != verdict.message else None, error=verdict.error or failure)]
        if verdict.reason != DeadReason.INVALID:
            # A wait or a text that Postgres cannot hold: kept for a person to see, with what could not be written.
            return [verdict._replace(outcome=Outcome.DEAD, reason=DeadReason.INVALID, error=failure)]
        self._bury(verdict, error)
        return []

    def _bury(self, verdict: Verdict, error: Exception) -> None:
        """Move a message whose end cannot be written out of the way, as it is; else it would run again for ever."""
        try:
            opened = connect(self._url(), application_name="callboard completions", autocommit=True)
            with closing(opened):
                buried = bury(opened, verdict.message_id, error, lease_id=verdict.lease_id)
        except Exception as second:  # noqa: BLE001 - others wait; this one is handed back as unknown, and runs again
            log.error("message could not be buried", message_id=verdict.message_id, error=said(second))  # noqa: TRY400 - said in one line
            return
        if buried is not None:
            self._report([(buried, Outcome.DEAD)])

    def _write_around_a_lock(self, batch: list[Verdict]) -> None:
        """Write the verdicts of rows that nobody has locked, and leave the locked one for later."""
        self._drop_connection()
        if len(batch) > 1:
            for verdict in batch:
                self._write_until_done([verdict])
            return
        log.warning("row is locked by somebody; its verdict waits", message_id=batch[0].message_id)
        # A row that is skipped takes no time to be found locked, as one that is waited for does.
        time.sleep(LOCKED_WAIT_S)
        with self._changed:
            self._waiting.append(batch[0])
            # The caller counts it as written, and it is owed still.
            self._unwritten += 1
            self._postponed.add(batch[0].lease_id)

    def _report(self, written: Sequence[tuple[Verdict, Outcome]]) -> None:
        for verdict, outcome in written:
            if outcome is Outcome.LOST:
                log.warning(
                    "late verdict ignored, lease was lost", message_id=verdict.message_id, verdict=verdict.outcome
                )
        self._on_written(written)

    def _write(self, batch: Sequence[Verdict]) -> list[tuple[Verdict, Outcome]]:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url(), application_name="callboard completions", settings=SESSION_SETTINGS)
        # Where all is one statement, it is a transaction by itself: one round trip in place of three. Not while earlier
        # verdicts have no answer, as those are looked up in the same transaction.
        is_plain = all(verdict.outcome is Outcome.DONE and not verdict.has_effects for verdict in batch)
        self._connection.autocommit = is_plain and not self._unanswered
        with deadline(self._connection, CALL_TIMEOUT_S), self._connection.cursor() as cursor:
            held = write_verdicts(cursor, batch, self._worker_id, is_prepared=self._is_prepared)
            held |= self._find_written(cursor, [verdict for verdict in batch if verdict.lease_id not in held])
            self._connection.commit()
        self._unanswered.difference_update(verdict.lease_id for verdict in batch)
        return [(verdict, held.get(verdict.lease_id, Outcome.LOST)) for verdict in batch]

    def _find_written(self, cursor: Any, verdicts: Sequence[Verdict]) -> dict[int, Outcome]:
        """Tell verdicts of a try whose answer was lost from those whose lease was: the rows are gone for both."""
        if not (unanswered := [verdict for verdict in verdicts if verdict.lease_id in self._unanswered]):
            return {}
        cursor.execute(sql("ending/find_written"), {**fence(unanswered), "worker_id": self._worker_id})
        return outcomes_of(unanswered, cursor.fetchall())

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
