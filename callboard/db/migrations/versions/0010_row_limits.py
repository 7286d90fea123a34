"""Limits of ours for what a row may hold: moments, counters, lengths, size."""

from callboard.db.migrations.plain_sql import run_file

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_file("0010_row_limits_kept")
    # Last, as it locks the tables until the commit.
    run_file("0010_row_limits")
    run_file("0010_row_limits_declared")
