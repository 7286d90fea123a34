"""Reports and their files."""

from callboard.db.migrations.plain_sql import run_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_file("0003_reports")
