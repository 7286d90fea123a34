"""Mail that was sent, and its fate."""

from callboard.db.migrations.plain_sql import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_file("0002_emails")
