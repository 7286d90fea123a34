"""The sum of the connection budget."""

from __future__ import annotations

from dataclasses import replace

from callboard.ops.health.connections import ConnectionBudget

BUDGET = ConnectionBudget(max_connections=100, reserved=3, others=9, worker_processes=6, pool_size=10)


def test_a_budget_that_comes_out_is_no_warning():
    assert (BUDGET.needed, BUDGET.available) == (6 * 13 + 10, 88)
    assert BUDGET.warning is None


def test_a_budget_that_does_not_come_out_names_the_figures_and_what_to_do():
    warning = replace(BUDGET, worker_processes=7).warning
    assert warning is not None
    assert "7 worker processes with up to 13 each and 1 API process with up to 10 need 101, and there are 88" in warning
    assert "max_connections 100, less 3 reserved and 9 open by others" in warning
    assert "Set max_connections to 113 or more, or run fewer worker processes." in warning


def test_what_it_asks_for_is_enough():
    short = replace(BUDGET, worker_processes=20)
    asked_for = short.needed + short.reserved + short.others
    assert str(asked_for) in str(short.warning)
    assert replace(short, max_connections=asked_for).warning is None
