"""The queue, its history and its dead letters."""

from callboard.db.migrations.plain_sql import run_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_file("0001_queue")
