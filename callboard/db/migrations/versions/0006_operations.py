"""What operators see and do: causes of dead letters, audit log, cancellations, schedules, throughput."""

from callboard.db.migrations.plain_sql import run_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_file("0006_operations")
