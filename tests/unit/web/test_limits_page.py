"""The page's table of what the API does at once, held against the code."""

from __future__ import annotations

import re

from callboard.web.limits.connections import CONNECTIONS_MAX, HEADERS_TIMEOUT_S, READ_TIMEOUT_S
from callboard.web.limits.lanes import LIMITS, WAIT_MAX_S
from callboard.web.requests.guard import BODY_TIMEOUT_S
from callboard.web.requests.refusals import REASONS, WEBHOOK_OUTCOMES
from tests.unit.pages import rows_of, text_of


def test_the_page_names_every_lane_with_its_limits():
    rows = rows_of("docs/scaling.md", section="What the API does at once")
    shown = {re.findall(r"`(\w+)`", row[0])[0]: row[1:] for row in rows}
    assert shown == {
        str(lane): [
            str(limit.slots),
            str(limit.places),
            str(limit.connections.reserved) if limit.connections else "",
            str(limit.connections.most) if limit.connections else "",
        ]
        for lane, limit in LIMITS.items()
    }


def test_the_page_names_the_times_and_numbers():
    page = text_of("docs/scaling.md")
    for text in (
        f"wait for up to {WAIT_MAX_S:g} s",
        f"{CONNECTIONS_MAX:,} at once",
        f"within {HEADERS_TIMEOUT_S:g} s, a body within {BODY_TIMEOUT_S:g} s",
        f"given up after {READ_TIMEOUT_S:g} s",
    ):
        assert text in page, text


def test_every_reason_and_outcome_is_on_the_metrics_page():
    page = text_of("docs/metrics.md")
    assert {word for word in (*REASONS, *WEBHOOK_OUTCOMES) if f"`{word}`" not in page} == set()
