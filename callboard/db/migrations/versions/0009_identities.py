"""Primary key of the history, a lock of its own for each worker."""

from callboard.db.migrations.plain_sql import run_file

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_file("0009_identities")
