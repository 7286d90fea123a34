from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from callboard.errors import InvalidRequest
from callboard.ops.moments import parse_future, parse_past, parse_span

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("30 min", timedelta(minutes=30)),
        ("5m", timedelta(minutes=5)),
        ("1.5h", timedelta(minutes=90)),
        ("7D", timedelta(days=7)),
        ("2w", timedelta(days=14)),
    ],
)
def test_a_span_is_a_number_and_a_unit(text, span):
    assert parse_span(text, name="--until") == span
    assert parse_future(text, name="--until", now=NOW) == NOW + span
    assert parse_past(text, name="--since", now=NOW) == NOW - span


@pytest.mark.parametrize("text", ["", "h", "2", "0s", "-2h", "2 fortnights", "1e3h", "99999999999999999999d", "9999w"])
def test_what_is_no_span_is_refused_by_name_and_value(text):
    with pytest.raises(InvalidRequest) as caught:
        parse_span(text, name="--older-than")
    assert "--older-than" in str(caught.value) and repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-25", datetime(2026, 11, 25, tzinfo=UTC)),
        ("2026-11-24T18:00", datetime(2026, 11, 24, 18, tzinfo=UTC)),
        ("2026-11-24T18:00+03:00", datetime(2026, 11, 24, 15, tzinfo=UTC)),
    ],
)
def test_a_moment_is_utc_unless_it_says(text, moment):
    assert parse_future(text, name="--until", now=NOW) == moment


def test_a_moment_on_the_wrong_side_of_now_is_refused():
    with pytest.raises(InvalidRequest, match=r"--until '2026-11-24T11:59' has passed"):
        parse_future("2026-11-24T11:59", name="--until", now=NOW)
    with pytest.raises(InvalidRequest, match=r"--since '2026-11-25' is still to come"):
        parse_past("2026-11-25", name="--since", now=NOW)
    with pytest.raises(InvalidRequest, match=r"--until 'tomorrow' is no moment"):
        parse_future("tomorrow", name="--until", now=NOW)


@pytest.mark.parametrize("text", ["0001-01-01T00:00+10:00", "9999-12-31T23:59-10:00"])
def test_a_moment_that_is_none_in_utc_is_refused(text):
    with pytest.raises(InvalidRequest, match="is no moment"):
        parse_past(text, name="--since", now=NOW)
    # Postgres knows no offset of more than 16 hours.
    assert parse_past("2020-01-02T00:00+23:00", name="--since", now=NOW) == datetime(2020, 1, 1, 1, tzinfo=UTC)
