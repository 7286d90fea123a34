"""How many messages a process holds ahead of its threads, as time passes and messages end."""

from __future__ import annotations

import pytest

from callboard.broker.claiming import prefetch as slots
from callboard.broker.claiming.prefetch import AHEAD_MAX, AHEAD_PER_END, Prefetch


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests move: clock[0] is the time, s."""
    clock = [100.0]
    monkeypatch.setattr(slots.time, "monotonic", lambda: clock[0])
    return clock


def end(budget, count):
    for _ in range(count):
        budget.note_end()


def test_without_a_rate_a_process_holds_what_its_threads_run(clock):
    budget = Prefetch(8)
    assert [budget.room(held) for held in (0, 5, 8)] == [8, 3, 0]


def test_the_rate_of_short_messages_decides_how_many_are_held_ahead(clock):
    budget = Prefetch(8)
    end(budget, 100)
    clock[0] += 0.1
    # A thousand a second are 200 in 0.2 s; claimed again when half of them are used up.
    assert budget.room(8) == 200
    assert (budget.room(107), budget.room(108)) == (101, 0)
    end(budget, 100_000)
    clock[0] += 0.1
    assert budget.room(8) == AHEAD_MAX


def test_messages_that_outlast_what_is_held_ahead_are_not_claimed_ahead(clock):
    budget = Prefetch(8)
    end(budget, 3)
    clock[0] += 0.1
    assert budget.room(0) == 8


def test_threads_that_run_dry_hold_more_ahead_at_once_and_step_by_step(clock):
    budget, held = Prefetch(2), []
    for _ in range(5):
        # All that is claimed ends within the 2 ms until the next look.
        held.append(budget.room(0))
        end(budget, held[-1])
        clock[0] += 0.002
    assert held == [2, 2 + 2 * AHEAD_PER_END, 2 + 10 * AHEAD_PER_END, 2 + 42 * AHEAD_PER_END, 2 + 170 * AHEAD_PER_END]


def test_a_short_look_takes_nothing_back(clock):
    budget = Prefetch(2)
    end(budget, 100)
    clock[0] += 0.1
    assert budget.room(0) == 202
    end(budget, 2)
    clock[0] += 0.002
    assert budget.room(0) == 202


def test_busy_threads_get_no_more_before_the_rate_is_known(clock):
    budget = Prefetch(2)
    end(budget, 2)
    clock[0] += 0.002
    assert budget.room(2) == 0


def test_in_strict_order_and_after_messages_that_waited_too_long_nothing_is_held_ahead(clock):
    strict, shrunk = Prefetch(8, is_ahead=False), Prefetch(8)
    for budget in (strict, shrunk):
        end(budget, 100)
    clock[0] += 0.1
    assert (strict.room(0), shrunk.room(0)) == (8, 208)
    shrunk.shrink()
    assert shrunk.room(0) == 8
