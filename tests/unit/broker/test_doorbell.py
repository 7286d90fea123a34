"""When a sender rings: at once while messages are few, now and then while they are many."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from callboard.broker.sending import doorbell
from callboard.broker.sending.doorbell import Doorbell


@pytest.fixture
def rings_at(monkeypatch):
    """Return at which of these moments, in ms, a sender rings with its message."""

    def ring(*moments):
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr(doorbell, "time", SimpleNamespace(monotonic=lambda: clock.now))
        bell, rung = Doorbell(lambda: None), []
        for moment in moments:
            clock.now = moment / 1000
            if bell.is_due():
                rung.append(moment)
        return rung

    return ring


def test_who_sends_now_and_then_rings_each_time(rings_at):
    assert rings_at(0, 20, 40, 60, 80) == [0, 20, 40, 60, 80]


def test_who_is_late_and_early_now_and_then_rings_each_time_too(rings_at):
    assert rings_at(0, 20, 48, 60, 80, 100) == [0, 20, 48, 60, 80, 100]


def test_who_sends_all_the_time_rings_once_an_interval(rings_at):
    # The second ring is for having been idle before the first.
    assert rings_at(0, 10, 20, 30, 40, 50, 61, 70, 80, 90, 100, 112) == [0, 10, 61, 112]


def test_a_burst_rings_with_its_first_messages_only(rings_at):
    assert rings_at(0, 1, 2, 3, 4, 5) == [0, 1]
