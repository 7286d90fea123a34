"""How many messages a worker process may hold: its threads, and while messages are short, a little ahead of them."""

from __future__ import annotations

import time

#: Work that is claimed ahead of the threads, as seconds of the present rate: enough to bridge a claim's round trip.
AHEAD_S = 0.2
AHEAD_MAX = 2_000
#: How often the rate is taken, s; and at the least, where the threads have nothing to do before that.
RATE_INTERVAL_S = 0.02
RATE_INTERVAL_MIN_S = 0.001
#: What may be held ahead after such a short look, for each message that ended: a few short ones may be followed by
#: long ones.
AHEAD_PER_END = 4


class Prefetch:
    """The budget of one process over all its queues.

    While messages run for seconds nothing is claimed that cannot start at once: it would wait here although another
    process is idle. While they run for milliseconds, the threads would idle during each claim.
    """

    def __init__(self, threads: int, *, is_ahead: bool = True) -> None:
        self.threads = threads
        self._is_ahead = is_ahead
        self._ahead = 0
        self._ended = 0
        self._ended_at_rate = 0
        self._rate_clock = time.monotonic()

    @property
    def size(self) -> int:
        return self.threads + self._ahead

    def note_end(self) -> None:
        self._ended += 1

    def is_short(self, held: int) -> bool:
        """Tell whether so little is held that the intake should claim: what room() says, by the last rate."""
        return held < self.threads + self._ahead - self._ahead // 2

    def room(self, held: int) -> int:
        """Return how many messages to claim now: none until half of what is held ahead has been used up."""
        self._take_rate(held)
        free = self.size - held
        return free if free > self._ahead // 2 else 0

    def shrink(self) -> None:
        """Claim nothing ahead for now, after messages have waited here too long."""
        self._ahead = 0
        self._ended_at_rate, self._rate_clock = self._ended, time.monotonic()

    def _take_rate(self, held: int) -> None:
        now = time.monotonic()
        passed_s, ended = now - self._rate_clock, self._ended - self._ended_at_rate
        is_early = passed_s < RATE_INTERVAL_S
        if is_early and (held >= self.threads or passed_s < RATE_INTERVAL_MIN_S):
            return
        ahead = int(ended / passed_s * AHEAD_S)
        # Less than a message a thread means that they run for longer than AHEAD_S.
        ahead = min(ahead, AHEAD_MAX) if ahead >= self.threads and self._is_ahead else 0
        if is_early:
            ahead = max(min(ahead, ended * AHEAD_PER_END), self._ahead)
        # Down at half speed: one slow moment is no new rate.
        self._ahead = max(ahead, self._ahead // 2) if ahead < self._ahead else ahead
        self._ended_at_rate, self._rate_clock = self._ended, now
