"""Deleting what has outlived its time, in batches of their own transactions, so that nobody waits for it.

docs/retention.md lists every table with how long its rows are kept, and is tested against the catalogue. What belongs
to a message that waits, runs or is dead is kept with it: its attempts, its mail, its report.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg2

from callboard.db import Pool, sql
from callboard.errors import PermanentError, TemporaryError
from callboard.log import get_logger
from callboard.ops.refusals import refusal_text

log = get_logger(__name__)

#: Rows of one transaction, and how few they become when the database is too busy for so many.
BATCH_MAX = 5_000
BATCH_MIN = 100
#: Time one transaction may take, s; below what a pool gives a call.
BATCH_TIMEOUT_S = 3
#: Rows that one look finds; a look passes over everything that is old, and may take its time.
FOUND_MAX = 100_000
LOOK_TIMEOUT_S = 60

#: Reports of one look: the files of each are removed before its row is.
REPORTS_MAX = 100
#: After so many whose files stay it is the storage that is in trouble, and not one of them.
KEPT_MAX = 10

_TOO_BUSY = (
    psycopg2.errors.QueryCanceled,
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.DeadlockDetected,
)


class _TimeIsUp(Exception):
    """The rest is for the next call."""


@dataclass(frozen=True, slots=True)
class Days:
    """How many days rows are kept.

    history counts for history, attempts, ended workers, throughput and schedules that nobody declares any more,
    dead_letters for dead letters and their attempts.
    """

    history: int
    dead_letters: int
    emails: int
    reports: int
    payment_events: int
    idempotency_keys: int


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows of each table were deleted, whether all that is old is gone, and what Postgres refused of which."""

    counts: dict[str, int]
    is_finished: bool
    refusals: dict[str, str] = field(default_factory=dict)


@dataclass
class _Run:
    pool: Pool
    until: float
    clock: Callable[[], float]
    batch_max: int = BATCH_MAX
    counts: dict[str, int] = field(default_factory=dict)


def purge_expired(
    pool: Pool,
    days: Days,
    *,
    remove_files: Callable[[str], None],
    time_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Purged:
    """Delete what is older than so many days, for time_s at the most; what is left is for the next call.

    remove_files(report_id) removes the files of a report, before its row goes. A table that Postgres lets nobody
    delete from is among the refusals, and keeps no other from its turn. Raises: DatabaseUnavailable.
    """
    run = _Run(pool, clock() + time_s, clock)
    is_finished, refused = True, {}
    for table, kept_days, purge in _purges(days, remove_files):
        run.batch_max = BATCH_MAX
        try:
            purge(run, table, kept_days)
        except _TimeIsUp:
            is_finished = False
        except PermanentError as error:
            refused[table] = str(error)
            log.error("old rows cannot be deleted", table=table, error=refused[table])  # noqa: TRY400 - it says it all
            is_finished = False
        except (*_TOO_BUSY, TemporaryError) as error:
            log.warning("old rows were not deleted; tried again later", table=table, error=str(error).strip())
            is_finished = False
        except psycopg2.Error as error:
            refused[table] = refusal_text(error)
            log.error("old rows cannot be deleted", table=table, error=refused[table])  # noqa: TRY400 - it says it all
            is_finished = False
    return Purged(run.counts, is_finished, refused)


def _purges(days: Days, remove_files: Callable[[str], None]) -> list[tuple[str, int, Callable[[_Run, str, int], None]]]:
    return [
        # Before what is kept with a dead letter.
        ("dead_letters", days.dead_letters, _purge_in_order),
        # Their index is a BRIN, which knows no order: old rows are found in one pass first.
        ("message_history", days.history, _purge_found),
        ("attempts", days.history, _purge_found),
        ("worker_history", days.history, _purge_in_order),
        ("throughput", days.history, _purge_in_order),
        ("schedules", days.history, _purge_in_order),
        ("emails", days.emails, _purge_in_order),
        ("payment_events", days.payment_events, _purge_in_order),
        ("idempotency_keys", days.idempotency_keys, _purge_in_order),
        ("reports", days.reports, partial(_purge_with_files, remove_files)),
    ]


def _purge_found(run: _Run, table: str, days: int) -> None:
    found = FOUND_MAX
    while found == FOUND_MAX:
        places = _find(run, table, days)
        found = len(places)
        while places:
            taken = _in_time(run, table, {"days": days, "places": places})
            del places[:taken]


def _purge_in_order(run: _Run, table: str, days: int) -> None:
    deleted = limit = 1
    while deleted == limit:
        before = run.counts.get(table, 0)
        limit = _in_time(run, table, {"days": days})
        deleted = run.counts[table] - before


def _purge_with_files(remove_files: Callable[[str], None], run: _Run, table: str, days: int) -> None:
    """Remove the files first: a row without files is found again, files without a row by nobody.

    A report whose files cannot be removed keeps no other from its turn. Raises: what kept the first one, in the end.
    """
    kept: dict[str, Exception] = {}
    while report_ids := _expired(run, table, days, besides=[*kept]):
        removed: list[str] = []
        try:
            for report_id in report_ids:
                if run.clock() >= run.until:
                    raise _TimeIsUp
                try:
                    remove_files(report_id)
                except (TemporaryError, PermanentError) as error:
                    kept[report_id] = error
                    if len(kept) >= KEPT_MAX:
                        raise
                else:
                    removed.append(report_id)
        finally:
            if removed:
                _delete(run, table, {"report_ids": removed})
    if kept:
        raise next(iter(kept.values()))


def _expired(run: _Run, table: str, days: int, *, besides: list[str]) -> list[str]:
    if run.clock() >= run.until:
        raise _TimeIsUp
    with run.pool.cursor() as cursor:
        cursor.execute(sql(f"retention/find_{table}"), {"days": days, "limit": REPORTS_MAX, "besides": besides})
        return [report_id for (report_id,) in cursor.fetchall()]


def _find(run: _Run, table: str, days: int) -> list[str]:
    if run.clock() >= run.until:
        raise _TimeIsUp
    with run.pool.cursor(LOOK_TIMEOUT_S + 5) as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{LOOK_TIMEOUT_S}s'; SET LOCAL enable_seqscan = off")
        cursor.execute(sql(f"retention/find_{table}"), {"days": days, "limit": FOUND_MAX})
        return list(cursor.fetchone()[0])


def _in_time(run: _Run, table: str, parameters: dict[str, Any]) -> int:
    """Delete one batch, a smaller one where the database is too busy, and return how large it was meant to be.

    Raises: _TimeIsUp; what Postgres said when not even the smallest batch ended in time.
    """
    while True:
        if run.clock() >= run.until:
            raise _TimeIsUp
        batch = {**parameters, "limit": run.batch_max, "places": parameters.get("places", [])[: run.batch_max]}
        try:
            _delete(run, table, batch)
        except _TOO_BUSY:
            if run.batch_max == BATCH_MIN:
                raise
            run.batch_max = max(run.batch_max // 4, BATCH_MIN)
        else:
            return run.batch_max


def _delete(run: _Run, table: str, parameters: dict[str, Any]) -> None:
    with run.pool.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{BATCH_TIMEOUT_S}s'; SET LOCAL lock_timeout = '1s'")
        cursor.execute(sql(f"retention/purge_{table}"), parameters)
        run.counts[table] = run.counts.get(table, 0) + int(cursor.fetchone()[0])
