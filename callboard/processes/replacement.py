"""When a worker process is to be replaced, and when the work of a command with an end is done: decisions only."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from callboard.errors import InvalidRequest
from callboard.processes.exposition import REPORT_OVERDUE_S
from callboard.processes.reports import ProcessReport

MEBIBYTE = 1024 * 1024
#: A worker process holds about 50 before its first message, MB.
RSS_MIN_MB = 64
#: Processes that started together reach a number of jobs or an age at between this share of it and all of it.
JITTER_SHARE = 0.9
#: Time a process that does not report gets to end at SIGTERM, in case it hears it after all, s.
HUNG_PATIENCE_S = 10.0
#: Silence between two looks that counts, s: a supervisor that was frozen itself, or a machine that slept, says nothing
#: about the processes.
LOOK_GAP_MAX_S = 3.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker process may reach before it is replaced; None each: anything.

    Raises: InvalidRequest when made with a number that cannot be meant.
    """

    jobs: int | None = None
    age_s: float | None = None
    rss_mb: int | None = None

    def __post_init__(self) -> None:
        for option, value, least, unit in (
            ("--max-jobs", self.jobs, 1, ""),
            ("--max-time", self.age_s, 1, " s"),
            ("--max-rss", self.rss_mb, RSS_MIN_MB, " MB; a process holds about 50 before its first message"),
        ):
            # Said this way, what is no number at all is refused too.
            if value is not None and not value >= least:
                raise InvalidRequest(f"{option} must be at least {least}{unit}. Got {value:g}.")

    @property
    def are_set(self) -> bool:
        return (self.jobs, self.age_s, self.rss_mb) != (None, None, None)

    def reached(self, *, jobs_ended: int, age_s: float, rss_bytes: int | None, share: float = 1.0) -> str | None:
        """Return why a process is to be replaced, or None; share is the part of jobs and age that it gets."""
        # Rounded up, so that a small number stays what it is.
        if self.jobs is not None and jobs_ended >= -(-self.jobs * share // 1):
            return f"it has ended {jobs_ended} messages"
        if self.age_s is not None and age_s >= self.age_s * share:
            return f"it is {age_s:.0f} s old"
        if self.rss_mb is not None and rss_bytes is not None and rss_bytes > self.rss_mb * MEBIBYTE:
            # One that is too large before it has done anything will be so again.
            return f"it holds {rss_bytes // MEBIBYTE} MB" if jobs_ended else None
        return None


@dataclass
class Watch:
    """What a supervisor remembers of one process from look to look."""

    share: float = field(default_factory=lambda: random.uniform(JITTER_SHARE, 1.0))  # noqa: S311 - jitter, not cryptography
    silent_s: float = 0.0
    #: When it was asked to end because it hangs, and when it was first seen to end on its own.
    asked_clock: float | None = None
    ending_clock: float | None = None
    _written_at: float = 0.0
    _looked_clock: float | None = None

    def look(self, report: ProcessReport | None, now_clock: float) -> None:
        """Take in the present report; a process that has not come up yet has none, and is not silent.

        One that had a report and has none any more has ended, and Dramatiq's master after it is to.
        """
        gap_s = 0.0 if self._looked_clock is None else now_clock - self._looked_clock
        self._looked_clock = now_clock
        if report is None:
            if self.has_reported and self.ending_clock is None:
                self.ending_clock = now_clock
            return
        if report.written_at != self._written_at:
            self._written_at, self.silent_s = report.written_at, 0.0
        else:
            self.silent_s += min(gap_s, LOOK_GAP_MAX_S)
        if report.is_ending and self.ending_clock is None:
            self.ending_clock = now_clock

    @property
    def has_reported(self) -> bool:
        return self._written_at > 0.0

    def why_hung(self, report: ProcessReport | None) -> str | None:
        """Return why the process should be replaced although it has not ended, or None."""
        if self.silent_s >= REPORT_OVERDUE_S:
            return f"it has not reported for {self.silent_s:.0f} s"
        return report.dead if report is not None else None

    def is_overtime(self, now_clock: float, stop_timeout_s: float) -> bool:
        """Tell whether a process that is to end has had its time, so that it must be killed.

        One that still reports has its grace, as its running messages do; one that is silent hears nothing.
        """
        is_silent = self.silent_s >= HUNG_PATIENCE_S
        if self.asked_clock is not None and now_clock - self.asked_clock > HUNG_PATIENCE_S and is_silent:
            return True
        clocks = [clock for clock in (self.asked_clock, self.ending_clock) if clock is not None]
        return bool(clocks) and now_clock - min(clocks) > stop_timeout_s


class Mending:
    """Whether a supervisor does what it is there for: it looks, and what is missing comes back in time."""

    def __init__(self, patience_s: float, now_clock: float) -> None:
        #: Longest time that a replacement takes: the grace of what runs, the wait before a start, the start.
        self._patience_s = patience_s
        self._looked_clock = now_clock
        #: When each process was well last, by name.
        self._well_clocks: dict[str, float] = {}
        self._missing: Mapping[str, str] = {}

    def note(self, missing: Mapping[str, str | None], now_clock: float) -> None:
        """Take in a look: what keeps each process that should be there from being well, or None."""
        # A machine that slept says nothing about them.
        slept_s = max(now_clock - self._looked_clock - LOOK_GAP_MAX_S, 0.0)
        before = self._well_clocks
        self._missing = {name: why for name, why in missing.items() if why}
        self._well_clocks = {
            name: before.get(name, now_clock) + slept_s if why else now_clock for name, why in missing.items()
        }
        self._looked_clock = now_clock

    def why_failed(self, looked_clock: float, now_clock: float) -> str | None:
        """Return what is not mended in time, or None; looked_clock is when the supervisor did anything last."""
        if (silent_s := now_clock - looked_clock) > REPORT_OVERDUE_S:
            return f"the supervisor has done nothing for {silent_s:.0f} s"
        for name, why in self._missing.items():
            if (gone_s := now_clock - self._well_clocks.get(name, now_clock)) > self._patience_s:
                return f"{name} has not come back for {gone_s:.0f} s: {why}"
        return None


def are_done(reports: Sequence[ProcessReport | None], *, not_before_clock: float = float("-inf")) -> bool:
    """Tell whether there was a moment, not before the given one, when all processes were idle and nothing was ready.

    Each says since when it is. The one that became so last looked for messages after all others had ended theirs, so
    that no message of theirs can have come later.
    """
    known = [report for report in reports if report is not None and report.done_since_clock is not None]
    if not known or len(known) < len(reports):
        return False
    moment = max(not_before_clock, *(report.done_since_clock or 0.0 for report in known))
    return all(report.reported_clock >= moment for report in known)
