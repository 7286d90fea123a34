"""When claims go message by message for a while, because one for many has not come back in time.

A row may hold more text than can be made before a claim's deadline, and nothing interrupts Postgres in that: the claim
goes on there, holds its rows as long, and may commit after all. So what it took is met again, later than now.
"""

from __future__ import annotations

from collections.abc import Collection


class Wariness:
    """One process's: on from a claim that was lost until its messages have been met one by one."""

    def __init__(self) -> None:
        self._left = 0
        self._passed_over: frozenset[str] = frozenset()

    @property
    def is_on(self) -> bool:
        return self._left > 0 or bool(self._passed_over)

    def begin(self, count: int) -> None:
        """Look at the next so many messages one by one."""
        self._left = max(self._left, count)

    def note_round(self, found: Collection[str], passed_over: Collection[str]) -> None:
        """Note a round: which messages waited, and which of them another claim holds, perhaps the lost one."""
        # Once all have been looked at, only those that are held still are waited for: others take and hold new ones.
        held = frozenset(passed_over)
        self._passed_over = held if self._left > 0 else self._passed_over & held
        self._left = self._left - len(found) if found else 0
