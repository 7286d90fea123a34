"""Cron expressions with a time zone: the slots that come, and those that have passed.

Only workers import this: cronsim is not in the base install. Slots are moments in UTC. Where the clock changes it does
what Debian's cron does: an expression of fixed hours and minutes runs once in the hour that comes twice, and one whose
time is left out runs at the first minute after; an expression with a star in hour or minute (or seconds) follows real
time, so it runs in both of the two hours and not in the one that is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

#: A slot that is late by no more than this was not missed: a leader had to be replaced, or a database was restarted.
GRACE = timedelta(seconds=60)
#: Most slots that catch_up="all" sends after an outage, the newest of them.
CATCH_UP_MAX = 1_000
EXPRESSION_MAX = 200
#: Farther than any zone's clock was ever set back; walking back from a moment begins so much later on the clock.
_SET_BACK_MAX = timedelta(hours=3)
_FIELDS_WITH_SECONDS = 6


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression in its zone."""

    expression: str
    zone: ZoneInfo

    @classmethod
    def of(cls, expression: str, timezone: str) -> Cron:
        """Read an expression of five fields, or of six with seconds first. Raises: ValueError with a sentence."""
        try:
            zone = ZoneInfo(timezone)
        except (LookupError, ValueError, OSError, TypeError):
            raise ValueError(
                f"has timezone {timezone!r}, which is unknown. Give a name such as Europe/Moscow or UTC."
            ) from None
        cron = cls(expression, zone)
        try:
            if len(expression) > EXPRESSION_MAX:
                raise CronSimError(f"more than {EXPRESSION_MAX} characters")  # noqa: TRY301 - one way to say it
            cron.after(datetime(2000, 1, 1, tzinfo=UTC))
        except (CronSimError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"has cron {expression!r}, which is no cron expression ({str(error).lower()}). Write five fields as in "
                'a crontab, such as "0 6 * * *", or six with seconds first.'
            ) from None
        return cron

    def after(self, moment: datetime) -> datetime:
        """Return the first slot after a moment. Raises: ValueError where none comes within 50 years."""
        local = moment.astimezone(self.zone)
        slots = CronSim(self.expression, local.replace(tzinfo=None) if self._is_fixed else local)
        for slot in slots:
            found = self._moment_of(slot)
            # In the hour that comes twice, the clock's next time may lie in the first one.
            if found > moment:
                return found
        raise ValueError("it never comes")

    def until(self, moment: datetime) -> Iterator[datetime]:
        """Return the slots up to and including a moment, newest first."""
        start = moment.astimezone(self.zone).replace(microsecond=0)
        if not self._is_fixed:
            start = (start.astimezone(UTC) + timedelta(seconds=1)).astimezone(self.zone)
            slots = CronSim(self.expression, start, reverse=True)
        else:
            slots = CronSim(self.expression, start.replace(tzinfo=None, fold=0) + _SET_BACK_MAX, reverse=True)
        last = None
        for slot in slots:
            found = self._moment_of(slot)
            # Two times of one day that are left out begin at one moment.
            if found <= moment and found != last:
                yield found
                last = found

    @property
    def _is_fixed(self) -> bool:
        parts = self.expression.split()
        clock = parts[:3] if len(parts) == _FIELDS_WITH_SECONDS else parts[:2]
        return not any(part.startswith("*") for part in clock)

    def _moment_of(self, slot: datetime) -> datetime:
        """Return when a slot is; a time on the clock that is left out is the first moment after the gap."""
        if slot.tzinfo is not None:
            return slot.astimezone(UTC)
        found = slot.replace(tzinfo=self.zone).astimezone(UTC)
        if found.astimezone(self.zone).replace(tzinfo=None) == slot:
            return found
        # Both readings of a missing time lie a gap apart, one on each side of the change.
        gap = slot.replace(tzinfo=self.zone).utcoffset(), slot.replace(tzinfo=self.zone, fold=1).utcoffset()
        before, after = gap
        assert before is not None and after is not None  # noqa: S101, PT018 - a zone always has an offset
        return _first_after_gap(found - (after - before), found, self.zone)


def _first_after_gap(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment between two at which the zone's offset changes."""
    offset = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high


def slots_to_send(cron: Cron, catch_up: str, next_at: datetime, now: datetime) -> tuple[list[datetime], bool]:
    """Return the slots from next_at until now that are to be sent, oldest first, and whether too many were missed.

    A slot no later than GRACE is sent whatever catch_up says. Of those that were missed, "none" sends none, "latest"
    the most recent unless a newer slot is sent anyway, "all" every one up to CATCH_UP_MAX.
    """
    slots: Iterator[datetime] = takewhile(lambda slot: slot >= next_at, cron.until(now))
    # A slot that was announced is sent even where newer rules of its zone put it elsewhere.
    slots = chain([next(slots, next_at)], slots)
    if catch_up == "all":
        newest = [*islice(slots, CATCH_UP_MAX + 1)]
        return newest[:CATCH_UP_MAX][::-1], len(newest) > CATCH_UP_MAX
    kept: list[datetime] = []
    for slot in slots:
        if slot >= now - GRACE or (catch_up == "latest" and not kept):
            kept.append(slot)
        else:
            break
    return kept[::-1], False
