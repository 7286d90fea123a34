"""Prefetch of cron expressions where the clock changes, and what is caught up after an outage; time is passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.broker.schedules.cron import CATCH_UP_MAX, EXPRESSION_MAX, GRACE, Cron, slots_to_send

BERLIN = "Europe/Berlin"
NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)


def slots(expression: str, after: datetime, count: int, zone: str = BERLIN) -> list[str]:
    """Return the next slots as a clock in the zone shows them."""
    cron, shown = Cron.of(expression, zone), []
    for _ in range(count):
        after = cron.after(after)
        shown.append(after.astimezone(ZoneInfo(zone)).strftime("%d %H:%M:%S %z"))
    return shown


@pytest.mark.parametrize(
    ("expression", "first", "second"),
    [
        ("30 2 * * *", "29 03:00:00 +0200", "30 02:30:00 +0200"),
        ("0 30 2 * * *", "29 03:00:00 +0200", "30 02:30:00 +0200"),
        ("15,30 2 * * *", "29 03:00:00 +0200", "30 02:15:00 +0200"),
        ("30 2,3 * * *", "29 03:00:00 +0200", "29 03:30:00 +0200"),
        ("0 3 * * *", "29 03:00:00 +0200", "30 03:00:00 +0200"),
        # A star follows real time, which knows no gap.
        ("*/30 2-3 * * *", "29 03:00:00 +0200", "29 03:30:00 +0200"),
    ],
)
def test_a_slot_in_the_missing_hour_runs_once_right_after_it(expression, first, second):
    assert slots(expression, datetime(2026, 3, 28, 23, 30, tzinfo=UTC), 2) == [first, second]


@pytest.mark.parametrize(
    ("expression", "first", "second"),
    [
        ("30 2 * * *", "25 02:30:00 +0200", "26 02:30:00 +0100"),
        ("0 30 2 * * *", "25 02:30:00 +0200", "26 02:30:00 +0100"),
        ("0 2,3 * * *", "25 02:00:00 +0200", "25 03:00:00 +0100"),
        # A star follows real time, in which the hour comes twice.
        ("0 * * * *", "25 02:00:00 +0200", "25 02:00:00 +0100"),
    ],
)
def test_a_slot_in_the_repeated_hour_runs_once_unless_it_is_hourly(expression, first, second):
    assert slots(expression, datetime(2026, 10, 24, 23, 30, tzinfo=UTC), 2) == [first, second]


def test_from_within_the_repeated_hour_no_slot_of_the_first_one_comes_again():
    # Given 02:10 on the clock for the second time; 02:45 of the first time was half an hour ago
    second_time = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    assert slots("45 2 * * *", second_time, 1) == ["26 02:45:00 +0100"]
    assert next(Cron.of("45 2 * * *", BERLIN).until(second_time)) == datetime(2026, 10, 25, 0, 45, tzinfo=UTC)


def test_a_slot_is_never_its_own_successor_and_counts_as_passed_at_its_moment():
    cron, slot = Cron.of("0 6 * * *", "Europe/Moscow"), datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert cron.after(slot - timedelta(microseconds=1)) == slot
    assert cron.after(slot) == slot + timedelta(days=1)
    assert next(cron.until(slot)) == slot
    assert next(cron.until(slot - timedelta(microseconds=1))) == slot - timedelta(days=1)


EXPRESSIONS = ("30 2 * * *", "15,45 1-3 * * *", "*/20 * * * *", "0 * * * *", "*/15 * * * * *", "30 0 12 1,15 * *")
ZONES = ("UTC", BERLIN, "America/New_York", "Antarctica/Troll", "Asia/Kathmandu")
CHANGES = (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))


@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ZONES),
    st.sampled_from(CHANGES),
    st.integers(-8 * 3600, 8 * 3600),
)
def test_walking_back_meets_the_slots_that_walking_on_has_met(expression, zone, change, offset_s):
    cron, start = Cron.of(expression, zone), change + timedelta(seconds=offset_s)
    onward = []
    for _ in range(12):
        onward.append(cron.after(onward[-1] if onward else start))
    assert onward == sorted(set(onward))
    back = takewhile(lambda slot: slot > start, cron.until(onward[-1]))
    assert [*back][::-1] == onward


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("61 * * * *", "bad minute"),
        ("* * *", "wrong number of fields"),
        ("", "wrong number of fields"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 29 2 MON#5 *", "bad"),
        ("every day", "wrong number"),
        ("0" * (EXPRESSION_MAX + 1), "characters"),
        (None, "cron None"),
        (7, "cron 7"),
        # The first of February is never its fifth Monday.
        ("0 0 */31 2 MON#5", "never comes"),
    ],
)
def test_what_is_no_cron_expression_is_refused_with_its_value(expression, why):
    with pytest.raises(ValueError, match=why) as caught:
        Cron.of(expression, "UTC")
    assert repr(expression) in str(caught.value) and "0 6 * * *" in str(caught.value)


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "", "../etc/passwd", "/etc", "Europe", None, 3])
def test_an_unknown_zone_is_refused_with_its_value(zone):
    with pytest.raises(ValueError, match="timezone") as caught:
        Cron.of("0 6 * * *", zone)
    assert repr(zone) in str(caught.value)


def sent(catch_up: str, since: datetime, expression: str = "* * * * *") -> tuple[list[datetime], bool]:
    return slots_to_send(Cron.of(expression, "UTC"), catch_up, since, NOW)


MINUTE = timedelta(minutes=1)
LAST = NOW.replace(second=0)


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
def test_a_slot_that_is_a_little_late_is_sent_whatever_the_rule(catch_up):
    assert sent(catch_up, LAST) == ([LAST], False)
    seconds = [NOW - timedelta(seconds=age) for age in range(10, -1, -1)]
    assert sent(catch_up, seconds[0], "* * * * * *") == (seconds, False)


def test_of_missed_slots_none_sends_none_latest_one_and_all_every_one():
    hours_ago = NOW.replace(minute=0, second=0) - timedelta(hours=5)
    hourly = "30 * * * *"
    assert sent("none", hours_ago, hourly) == ([], False)
    assert sent("latest", hours_ago, hourly) == ([NOW.replace(hour=11, minute=30, second=0)], False)
    slots, _ = sent("all", hours_ago, hourly)
    assert [slot.hour for slot in slots] == [7, 8, 9, 10, 11]


def test_a_slot_that_is_on_time_takes_the_place_of_those_that_were_missed():
    assert sent("latest", LAST - 30 * MINUTE) == ([LAST], False)


def test_a_slot_that_was_announced_is_sent_where_the_zones_rules_have_changed_since():
    announced = NOW - timedelta(seconds=7)
    assert sent("latest", announced, "0 6 * * *") == ([announced], False)


def test_all_is_bounded_and_keeps_the_newest():
    slots, is_cut = sent("all", LAST - (CATCH_UP_MAX + 4) * MINUTE)
    assert is_cut and len(slots) == CATCH_UP_MAX
    assert (slots[0], slots[-1]) == (LAST - (CATCH_UP_MAX - 1) * MINUTE, LAST)
    assert sent("all", LAST - (CATCH_UP_MAX - 1) * MINUTE)[1] is False


def test_a_year_of_missed_seconds_costs_what_is_sent_of_them():
    # Walking on from the first of them would take minutes.
    slots, _ = sent("latest", NOW - timedelta(days=365), "* * * * * *")
    assert len(slots) == GRACE.total_seconds() + 1
    assert [*islice(Cron.of("* * * * * *", "UTC").until(NOW), 1)] == [NOW]
