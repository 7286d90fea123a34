"""Retrying with care: one dead letter, then ten, then all, and no further once the cause comes back.

Between looks nothing is held: no transaction, no lock, no connection.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from callboard.db import sql
from callboard.errors import DatabaseUnavailable
from callboard.ops.audit import Operator
from callboard.ops.dead_letters.changes import BATCH_MAX, Changed, Progress, Retry, Revived, Transactions
from callboard.ops.dead_letters.filter import DeadFilter
from callboard.ops.wording import some_ids

#: How many go first, and how many after those ended well; then all others.
STEPS = (1, 10)
#: How long each step may take to end, unless somebody says otherwise, s.
WAIT_S = 60.0
#: Pauses between two looks, the shortest and the longest, s.
PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 1.0

#: What a letter that was put back may have become (sql/dead_letters/returns.sql), where it is not over yet.
_WAITING = frozenset({"queued", "running"})


class End(StrEnum):
    """How a canary ended."""

    #: All that were meant are put back.
    FINISHED = "finished"
    #: One failed of the cause that it had died of: it is not put right.
    SAME_CAUSE = "same_cause"
    #: One died of something else.
    OTHER_CAUSE = "other_cause"
    #: The ones that went first had not ended in time.
    NOT_ENDED = "not_ended"


@dataclass(frozen=True, slots=True)
class Canary:
    """What a canary did: how it ended, because of which letters, and what was put back until then."""

    end: End
    changed: Changed
    #: The letters that ended it: failed again, or not ended in time.
    message_ids: tuple[str, ...] = ()
    fingerprint: str | None = None
    waited_s: float = 0.0

    def __str__(self) -> str:
        count = self.changed.count
        letters = f"{count} dead letter{'' if count == 1 else 's'}"
        some = some_ids(self.message_ids)
        match self.end:
            case End.SAME_CAUSE:
                why = f"{some} failed of the same cause again ({self.fingerprint}); retries of what was put back go on"
            case End.OTHER_CAUSE:
                why = f"{some} died again, of another cause: callboard dead show {self.message_ids[0]}"
            case End.NOT_ENDED:
                why = f"{some} had not ended after {self.waited_s:.0f} s: are there workers, is its queue paused?"
            case _:
                return f"{letters} put back."
        return f"Stopped after {letters}: {why}. The others stay dead."


@dataclass(frozen=True, slots=True)
class _Look:
    """What has become of the letters of a step."""

    states: dict[str, str]

    def ids(self, *states: str) -> tuple[str, ...]:
        return tuple(id_ for id_, state in self.states.items() if state in states)


def retry_by_canary(
    transactions: Transactions,
    which: DeadFilter,
    operator: Operator,
    *,
    wait_s: float = WAIT_S,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Canary:
    """Put one letter back, wait for its end, then ten, then all; stop when one fails of its old cause, or dies.

    say is told each step. Raises: as retry_dead().
    """
    retry = Retry(transactions, which, operator)
    retry.note(canary=True)
    for size in STEPS:
        revived = retry.put_back(size, progress)
        if not revived:
            return Canary(End.FINISHED, retry.changed())
        if say is not None:
            say(f"{len(revived)} put back; waiting for the end, up to {wait_s:g} s")
        begun = clock()
        look = _wait(transactions, revived, wait_s, clock, sleep)
        if stopped := _stopped(look, revived, retry, clock() - begun):
            return stopped
        if say is not None:
            say(", ".join(f"{count} {state}" for state, count in Counter(look.states.values()).items()))
    while revived := retry.put_back(BATCH_MAX, progress):
        look = _look(transactions, revived)
        if look.ids("same_cause") and (stopped := _stopped(look, revived, retry, 0)):
            return stopped
    return Canary(End.FINISHED, retry.changed())


def _wait(
    transactions: Transactions,
    revived: list[Revived],
    wait_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> _Look:
    begun = clock()
    while True:
        left_s = wait_s - (clock() - begun)
        try:
            look = _look(transactions, revived)
        except DatabaseUnavailable:
            # It may be back before the time is over.
            if left_s <= 0:
                raise
        else:
            if not look.ids(*_WAITING) or look.ids("same_cause", "dead") or left_s <= 0:
                return look
        sleep(min(max((clock() - begun) / 10, PAUSE_MIN_S), PAUSE_MAX_S, left_s))


def _look(transactions: Transactions, revived: list[Revived]) -> _Look:
    parameters = {
        "message_ids": [letter.message_id for letter in revived],
        "generations": [letter.generation for letter in revived],
        "fingerprints": [letter.fingerprint for letter in revived],
    }
    with transactions() as cursor:
        cursor.execute(sql("dead_letters/returns"), parameters)
        return _Look(dict(cursor.fetchall()))


def _stopped(look: _Look, revived: list[Revived], retry: Retry, waited_s: float) -> Canary | None:
    if same := look.ids("same_cause"):
        (fingerprint,) = {letter.fingerprint for letter in revived if letter.message_id == same[0]}
        return Canary(End.SAME_CAUSE, retry.changed(), same, fingerprint)
    if dead := look.ids("dead"):
        return Canary(End.OTHER_CAUSE, retry.changed(), dead)
    if waiting := look.ids(*_WAITING):
        return Canary(End.NOT_ENDED, retry.changed(), waiting, waited_s=waited_s)
    return None
