"""Duties that one worker has for all, and whether a worker's lock proves anything."""

from callboard.db.migrations.plain_sql import run_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_file("0008_duties")
