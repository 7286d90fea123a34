"""Write verdicts in batches: a thread of its own, one transaction a batch, until the database has them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import psycopg2

from callboard.broker.outgoing import insert_row
from callboard.broker.verdict import AttemptError, DeadReason, Outcome, Verdict
from callboard.db import CALL_TIMEOUT_S, CONNECTION_ERRORS, connect, deadline, sql
from callboard.errors import CallboardError, DatabaseUnavailable
from callboard.log import get_logger

log = get_logger(__name__)

#: Verdicts in one transaction.
BATCH_MAX = 500
#: Longest wait that a verdict asks for, s: ten years; Postgres knows no moments far beyond.
WAIT_MAX_S = 10 * 365 * 86_400.0
#: Longest wait for a row that somebody else has locked, ms.
LOCK_TIMEOUT_MS = 500
#: Wait between tries while the database is away, s.
RETRY_WAIT_S = 0.5

Listener = Callable[[Sequence[tuple[Verdict, Outcome]]], None]


class Completions:
    """The verdicts of one worker process.

    on_written is called after each commit with every verdict and its outcome at commit, which is LOST where the
    lease had passed on.
    """

    def __init__(self, url: Callable[[], str], worker_id: str, on_written: Listener) -> None:
        self._url = url
        self._worker_id = worker_id
        self._on_written = on_written
        self._waiting: deque[Verdict] = deque()
        self._changed = threading.Condition()
        self._unwritten = 0
        self._owed: set[int] = set()
        self._postponed: set[int] = set()
        self._is_closing = False
        self._is_away = False
        self._connection: Any = None
        self.thread = threading.Thread(target=self._run, name="callboard-completions", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def submit(self, verdict: Verdict) -> None:
        with self._changed:
            self._waiting.append(verdict)
            self._unwritten += 1
            self._owed.add(verdict.lease_id)
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
            while self._unwritten:
                if not self.thread.is_alive() or not self._changed.wait(max(until - time.monotonic(), 0)):
                    return False
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
        while True:
            with self._changed:
                while not self._waiting and not self._is_closing:
                    self._changed.wait()
                if not self._waiting:
                    break
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_MAX))]
            self._write_until_done(batch)
            with self._changed:
                self._unwritten -= len(batch)
                self._owed.difference_update({verdict.lease_id for verdict in batch} - self._postponed)
                self._postponed.clear()
                self._changed.notify_all()
        if self._connection is not None:
            self._connection.close()

    def _write_until_done(self, batch: list[Verdict]) -> None:
        while batch:
            try:
                written = self._write(batch)
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
                self._write_around_a_lock(batch)
                return
            except (DatabaseUnavailable, *CONNECTION_ERRORS) as error:
                if not self._is_away:
                    log.warning("database is away; verdicts wait", error=str(error).strip(), count=self._unwritten)
                self._is_away = True
                self._drop_connection()
                if self._is_closing:
                    return
                time.sleep(RETRY_WAIT_S)
                continue
            except (psycopg2.Error, CallboardError) as error:
                batch = self._set_aside(batch, error)
                continue
            if self._is_away:
                log.info("database is back; verdicts are written")
            self._is_away = False
            self._report(written)
            return

    def _set_aside(self, batch: list[Verdict], error: Exception) -> list[Verdict]:
        """Keep one verdict that cannot be stored from holding up the others: that one gets another fate."""
        self._drop_connection()
        if len(batch) > 1:
            for verdict in batch:
                self._write_until_done([verdict])
            return []
        verdict = batch[0]
        log.error(
            "verdict could not be stored", message_id=verdict.message_id, outcome=verdict.outcome, error=str(error)
        )
        failure = AttemptError.of(error)
        if verdict.followups:
            # The actor succeeded, but its next stage can never be stored: that is for a person to see.
            return [replace(verdict, outcome=Outcome.DEAD, reason=DeadReason.INVALID, error=failure, followups=())]
        if verdict.message is not None:
            # Options that Postgres cannot hold, such as a traceback with a NUL: the stored message is kept instead.
            return [replace(verdict, message=None, error=verdict.error or failure)]
        if verdict.reason != DeadReason.INVALID:
            # A wait or a text that Postgres cannot hold: kept for a person to see, with what could not be written.
            return [replace(verdict, outcome=Outcome.DEAD, reason=DeadReason.INVALID, error=failure)]
        # Not even that: the message stays running, is handed back as unknown to this process, and runs again.
        return []

    def _write_around_a_lock(self, batch: list[Verdict]) -> None:
        """Write the verdicts of rows that nobody has locked, and leave the locked one for later."""
        self._drop_connection()
        if len(batch) > 1:
            for verdict in batch:
                self._write_until_done([verdict])
            return
        log.warning("row is locked by somebody; its verdict waits", message_id=batch[0].message_id)
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
            self._connection = connect(self._url(), application_name="callboard completions")
            with deadline(self._connection, CALL_TIMEOUT_S), self._connection.cursor() as cursor:
                # Well below the deadline, so that a locked row is told from a database that is away.
                cursor.execute("SET lock_timeout = %s", (LOCK_TIMEOUT_MS,))
                self._connection.commit()
        with deadline(self._connection, CALL_TIMEOUT_S), self._connection.cursor() as cursor:
            ended = write_verdicts(cursor, batch, self._worker_id)
            self._connection.commit()
        return [(verdict, verdict.outcome if verdict.message_id in ended else Outcome.LOST) for verdict in batch]

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def write_verdicts(cursor: Any, verdicts: Sequence[Verdict], worker_id: str) -> set[str]:
    """Write verdicts and their follow-ups in the caller's transaction; return the ids whose lease still held."""
    ended: set[str] = set()
    groups = (
        ("queue/end_done", _done_parameters, {Outcome.DONE}),
        ("queue/end_requeue", _requeue_parameters, {Outcome.RETRY, Outcome.POSTPONED, Outcome.RELEASED}),
        ("queue/end_dead", _dead_parameters, {Outcome.DEAD}),
    )
    for name, parameters, outcomes in groups:
        group = [verdict for verdict in verdicts if verdict.outcome in outcomes]
        if group:
            cursor.execute(sql(name), {**_fence(group), **parameters(group), "worker_id": worker_id})
            ended.update(row[0] for row in cursor.fetchall())
    followups = [row for verdict in verdicts if verdict.message_id in ended for row in verdict.followups]
    for number, row in enumerate(followups):
        insert_row(cursor, row, ring=number == 0)
    return ended


def _fence(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    verdicts = list(verdicts)
    return {
        "message_ids": [v.message_id for v in verdicts],
        "lease_ids": [v.lease_id for v in verdicts],
        "started_at": [v.started_at for v in verdicts],
    }


def _done_parameters(_verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {}


def _dead_parameters(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {
        "reasons": [v.reason for v in verdicts],
        "retries": [v.retries for v in verdicts],
        "error_classes": [v.error.error_class if v.error else None for v in verdicts],
        "error_messages": [v.error.message if v.error else None for v in verdicts],
        "tracebacks": [v.error.traceback if v.error else None for v in verdicts],
    }


def _requeue_parameters(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {
        **_dead_parameters(verdicts),
        "outcomes": [v.outcome.value for v in verdicts],
        "waits_s": [min(v.wait_s, WAIT_MAX_S) for v in verdicts],
        "messages": [v.message for v in verdicts],
    }
