"""Results, rate limits, and callboard.enqueue() for senders in any language."""

from callboard.db.migrations.plain_sql import run_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_file("0005_results")
