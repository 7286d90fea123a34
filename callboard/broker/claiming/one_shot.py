"""A worker process that has an end: it runs one message, or what is ready, and tells when nothing is left to do."""

from __future__ import annotations

from callboard.broker.options import OneShotKind

#: Longest pause between two looks while the end is near, s.
LOOK_INTERVAL_S = 0.25


class OneShot:
    """What is left of it, as the intake sees it.

    done_since_clock is the moment from which on nothing was ready and nothing ran here; None while there is work. It
    is the beginning of the look that found nothing: whoever compares several processes sees whether all of them were
    idle at one moment, and so whether one could still have sent a message that another one has looked for in vain.
    """

    def __init__(self, kind: OneShotKind | None) -> None:
        self.is_set = kind is not None
        self._claims_left = 1 if kind == "once" else None
        self.done_since_clock: float | None = None

    @property
    def is_used_up(self) -> bool:
        """Whether nothing more may be claimed."""
        return self._claims_left == 0

    def room(self, free: int) -> int:
        """Return how many messages to claim at the most, of what there is room for."""
        return free if self._claims_left is None else min(free, self._claims_left)

    def note_look(self, began_clock: float, *, claimed: int, was_idle: bool, found_nothing: bool) -> None:
        """Take in what a look brought: was_idle is from before it; found_nothing, that it was a full one."""
        if self._claims_left is not None:
            self._claims_left -= claimed
        if claimed or not was_idle:
            self.done_since_clock = None
        elif found_nothing and self.done_since_clock is None:
            self.done_since_clock = began_clock

    def note_obstacle(self) -> None:
        """Take in that there was no look: the database is away, or no thread is free."""
        self.done_since_clock = None
