"""The queue's table under load while a transaction is held open: it fills with dead rows, and must stay fast."""

from __future__ import annotations

from tests.chaos.aging import drain_rates
from tests.chaos.stage import Stage

#: The part of a fresh table's rate that the design promises; the short form is too short to measure it.
RATE_KEPT = {"short": 0.4, "long": 0.8}


def account_for_bursts(stage: Stage) -> None:
    """Count as sent what was put into the queue at once, and is done."""
    stage.evidence.sent |= {row[0] for row in stage.db("SELECT message_id::text FROM callboard.message_history")}


def test_a_transaction_that_is_held_open_does_not_slow_the_queue_down(aging_table, on_stage, chaos_form):
    # Given a table that has been under load since before the transaction, the last part at half load
    aged = aging_table.stage
    aging_table.wait_for_the_load()
    with on_stage("C-10 a fresh table beside it", url=aging_table.fresh_url) as fresh:
        fresh.work(2, threads=8)
        drain_rates([fresh], aging_table.sample, rounds=1)
        # When workers drain what comes at once, there and on a fresh table in turn
        held_rate, fresh_rate = drain_rates([aged, fresh], aging_table.sample)
        dead_tuples = aging_table.dead_tuples()
        account_for_bursts(fresh)
        fresh.finish()
    aging_table.release()
    account_for_bursts(aged)
    aged.remarks.append(
        f"drained {held_rate:.0f} a second over {dead_tuples} dead rows, a fresh table {fresh_rate:.0f}"
    )
    aged.finish()
    # Then they are as fast as on the fresh one, or nearly so
    assert held_rate >= fresh_rate * RATE_KEPT[chaos_form]
