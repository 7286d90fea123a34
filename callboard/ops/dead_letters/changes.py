"""Changing dead letters: putting back, throwing away, deleting; in batches, each a transaction of its own.

Several operators may do it at once. A batch takes the letters it finds unlocked and as they were when it looked, so
each letter is changed by one of them. What died after a change began is not part of it: that may be what it put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import psycopg2

from callboard.db import sql
from callboard.errors import Conflict, DatabaseUnavailable, TooSlow
from callboard.ops import audit
from callboard.ops.audit import Operator
from callboard.ops.dead_letters.filter import DeadFilter, check_where, execute_matching

#: Letters in one transaction.
BATCH_MAX = 500
#: Sent before a batch: how long it waits for a transaction that sends with the dedupe key of one of its letters.
LIMITS = "SET LOCAL lock_timeout = '2s';"

NOTHING_CHANGED = "Nothing was changed."

#: Lends a cursor inside a transaction of its own, as Pool.cursor does.
Transactions = Callable[[], AbstractContextManager[Any]]
#: Called with the number of letters that a batch went through.
Progress = Callable[[int], None]


class Revived(NamedTuple):
    """A letter that was put back, with its new generation and what it had died of."""

    message_id: str
    generation: int
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """A letter that stays dead: holder_id has its dedupe key, or is the same message, sent again."""

    message_id: str
    holder_id: str
    queue_name: str
    dedupe_key: str | None

    def __str__(self) -> str:
        if self.message_id == self.holder_id:
            return f"{self.message_id} was sent again and waits or runs already"
        return f"{self.message_id} stays dead: message {self.holder_id} holds its dedupe_key {self.dedupe_key!r} by now"


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did; missing are ids that were asked for and are no dead letters, or somebody else's by now."""

    message_ids: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.message_ids)


class Change:
    """One change of an operator: goes through the letters that are meant, once, a batch a transaction."""

    def __init__(self, transactions: Transactions, which: DeadFilter, operator: Operator, action: str) -> None:
        self._transactions = transactions
        self._asked = self._which = which
        self._operator = operator
        self._action = action
        self._details: dict[str, Any] = {}
        self._audit_id: int | None = None
        #: Where the last batch ended, in the order of death.
        self._after: tuple[datetime, str] | None = None
        self._is_begun = False
        self.held: list[Held] = []
        self.message_ids: list[str] = []

    def note(self, **details: Any) -> None:
        """Add to what the audit log will say of it; before the first batch."""
        self._details |= details

    def run(self, change: Callable[[Any, list[str], list[int]], list[str]], limit: int = BATCH_MAX) -> int:
        """Change the next letters in one transaction; return how many were looked at, 0 at the end.

        change(cursor, ids, generations) returns the ids that it changed. Raises: Conflict, DatabaseUnavailable.
        """
        with refusals(self._so_far), self._transactions() as cursor:
            self._begin(cursor)
            letters = self._next(cursor, limit)
            ids = change(cursor, [row[0] for row in letters], [row[1] for row in letters]) if letters else []
            self._write_down(cursor, len(ids))
        self.message_ids += ids
        if letters:
            self._after = (letters[-1][2], letters[-1][0])
        return len(letters)

    def changed(self) -> Changed:
        held = {letter.message_id for letter in self.held}
        done = set(self.message_ids) | held
        missing = tuple(id_ for id_ in self._which.ids or () if id_ not in done)
        return Changed(tuple(self.message_ids), tuple(self.held), missing)

    def _begin(self, cursor: Any) -> None:
        if self._is_begun:
            return
        check_where(cursor, self._which)
        cursor.execute("SELECT now()")
        # Not a moment before now(): a letter that died in this very microsecond is meant.
        now = cursor.fetchone()[0]
        if self._which.until is None or self._which.until > now:
            self._which = replace(self._which, until=now)
        self._is_begun = True

    def _next(self, cursor: Any, limit: int) -> list[Any]:
        after_at, after_id = self._after or (None, None)
        place = {"limit": limit, "after_at": after_at, "after_id": after_id}
        execute_matching(cursor, "next", self._which, LIMITS, **place)
        rows: list[Any] = cursor.fetchall()
        return rows

    def _write_down(self, cursor: Any, count: int) -> None:
        if not count:
            return
        if self._audit_id is None:
            asked = self._asked.as_asked()
            self._audit_id = audit.record(
                cursor, self._operator, self._action, filter=asked, count=count, details=self._details
            )
        else:
            audit.add(cursor, self._audit_id, count)

    def _so_far(self) -> str:
        count = len(self.message_ids)
        return f"{count} were changed before that; give the command again for the rest." if count else NOTHING_CHANGED


@contextmanager
def refusals(so_far: Callable[[], str] = lambda: NOTHING_CHANGED) -> Iterator[None]:
    """Say in our terms that a lock did not come free or the database is away, and what was done until then."""
    try:
        yield
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected) as error:
        raise Conflict(
            "A transaction that is still open holds what these dead letters need, such as their dedupe_key. "
            f"Wait until it ends. {so_far()}"
        ) from error
    except TooSlow as error:
        raise TooSlow(f"{error} {so_far()}") from error
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(f"{' '.join(str(error).split())} {so_far()}") from error


class Retry(Change):
    """Putting letters back, a given number at a time: what a canary needs, and a plain retry too."""

    def __init__(
        self, transactions: Transactions, which: DeadFilter, operator: Operator, action: str = "dead retry"
    ) -> None:
        super().__init__(transactions, which, operator, action)
        self.revived: list[Revived] = []

    def put_back(self, limit: int | None = None, progress: Progress | None = None) -> list[Revived]:
        """Put back the next letters, up to limit, or all; those that are held are passed over."""
        begun = len(self.revived)
        while limit is None or len(self.revived) - begun < limit:
            size = BATCH_MAX if limit is None else min(limit - (len(self.revived) - begun), BATCH_MAX)
            looked_at = self.run(self._put_back, size)
            if progress is not None:
                progress(looked_at)
            if looked_at < size:
                break
        return self.revived[begun:]

    def _put_back(self, cursor: Any, ids: list[str], generations: list[int]) -> list[str]:
        revived, held = put_back(cursor, ids, generations)
        self.revived += revived
        self.held += held
        return [letter.message_id for letter in revived]


def put_back(cursor: Any, ids: list[str], generations: list[int]) -> tuple[list[Revived], list[Held]]:
    """Put letters of these generations back in the caller's transaction; return them, and those that are held."""
    cursor.execute(sql("dead_letters/retry"), {"message_ids": ids, "generations": generations})
    rows = cursor.fetchall()
    stayed = [row[0] for row in rows if not row[3]]
    held: list[Held] = []
    if stayed:
        cursor.execute(sql("dead_letters/holders"), {"message_ids": stayed})
        held = [Held(*row) for row in cursor.fetchall()]
    return [Revived(*row[:3]) for row in rows if row[3]], held


def retry_dead(
    transactions: Transactions, which: DeadFilter, operator: Operator, *, progress: Progress | None = None
) -> Changed:
    """Put dead letters back into their queues, each with its id and dedupe key, a new generation and full retries.

    Raises: InvalidRequest, Conflict; DatabaseUnavailable, and what was put back before stays so.
    """
    retry = Retry(transactions, which, operator)
    retry.put_back(progress=progress)
    return retry.changed()


def discard_dead(
    transactions: Transactions, which: DeadFilter, operator: Operator, *, progress: Progress | None = None
) -> Changed:
    """Move dead letters to the history as discarded. Raises: as retry_dead()."""
    return _change_all(Change(transactions, which, operator, "dead discard"), "dead_letters/discard", progress)


def purge_dead(
    transactions: Transactions, which: DeadFilter, operator: Operator, *, progress: Progress | None = None
) -> Changed:
    """Delete dead letters and their attempts for good. Raises: as retry_dead()."""
    return _change_all(Change(transactions, which, operator, "dead purge"), "dead_letters/purge", progress)


def _change_all(change: Change, statement: str, progress: Progress | None) -> Changed:
    def apply(cursor: Any, ids: list[str], generations: list[int]) -> list[str]:
        cursor.execute(sql(statement), {"message_ids": ids, "generations": generations})
        return [row[0] for row in cursor.fetchall()]

    while looked_at := change.run(apply):
        if progress is not None:
            progress(looked_at)
    return change.changed()
