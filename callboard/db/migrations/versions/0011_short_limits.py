"""The limits of rows that are written all the time, in fewer words: Postgres reads them anew with each statement."""

from callboard.db.migrations.plain_sql import run_file

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_file("0011_short_limits")
