"""What came and ended in each minute, rolled up into callboard.throughput: figures that are quick to read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import psycopg2

from callboard.db import Pool, sql
from callboard.db.rows.values import is_of_a_value, said
from callboard.log import get_logger

log = get_logger(__name__)

#: Minutes that are counted again each time: a transaction that was open at the minute's end shows its rows late.
AGAIN = timedelta(minutes=3)
#: The first time, so many minutes back.
FIRST_MINUTES = 60
#: Longest stretch of one transaction. A stretch long ago reads all that ended since, so what was missed is bounded too.
STRETCH_MAX = timedelta(hours=6)
#: What fails is looked for in so many parts, down to one minute, the shortest stretch.
STRETCH_PARTS = 6
STRETCH_MIN = timedelta(minutes=1)
MISSED_MAX = timedelta(days=7)
#: Time one transaction may take, s.
TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class RolledUp:
    """How many rows were written, and whether every minute that is over is in them."""

    rows: int
    is_finished: bool


def roll_up(pool: Pool, *, time_s: float, clock: Callable[[], float] = time.monotonic) -> RolledUp:
    """Fill in all whole minutes that are over and not rolled up yet, for time_s at the most, oldest first.

    Repeats and two at once change nothing. Raises: DatabaseUnavailable.
    """
    until, rows, stretch = clock() + time_s, 0, STRETCH_MAX
    while True:
        try:
            written, is_finished = _roll_up_stretch(pool, stretch)
        except psycopg2.Error as error:
            if not is_of_a_value(error):
                raise
            # Shorter and shorter, until the minute is found that holds what cannot be counted.
            if stretch == STRETCH_MIN:
                _leave_out(pool, error)
            stretch, written, is_finished = max(stretch / STRETCH_PARTS, STRETCH_MIN), 0, False
        rows += written
        if is_finished or clock() >= until:
            return RolledUp(rows, is_finished)


def _leave_out(pool: Pool, error: psycopg2.Error) -> None:
    """Pass over one minute."""
    with pool.cursor() as cursor:
        cursor.execute(sql("throughput/lock_progress"), {"first_minutes": FIRST_MINUTES})
        rolled_until, _ = cursor.fetchone()
        log.warning("minute cannot be counted and is left out", minute=rolled_until.isoformat(), error=said(error))
        cursor.execute(sql("throughput/set_progress"), {"until": rolled_until + STRETCH_MIN})


def _roll_up_stretch(pool: Pool, stretch: timedelta) -> tuple[int, bool]:
    with pool.cursor(TIMEOUT_S + 5) as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{TIMEOUT_S}s'; SET LOCAL lock_timeout = '{TIMEOUT_S}s'")
        cursor.execute(sql("throughput/lock_progress"), {"first_minutes": FIRST_MINUTES})
        rolled_until, current = cursor.fetchone()
        if rolled_until < current - MISSED_MAX:
            log.warning("minutes were missed for too long and are left out", since=rolled_until.isoformat())
            rolled_until = current - MISSED_MAX
        end = min(current, rolled_until + stretch)
        cursor.execute(sql("throughput/roll_up"), {"since": rolled_until - AGAIN, "until": end})
        written = int(cursor.fetchone()[0])
        cursor.execute(sql("throughput/set_progress"), {"until": end})
        return written, end == current
