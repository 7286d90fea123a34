"""Alembic's entry: online on the connection that callboard.db.schema hands over, offline as SQL on stdout."""

from __future__ import annotations

from typing import Any

from alembic import context
from alembic.operations import MigrateOperation, Operations

from callboard.db.migrations.plain_sql import execute_each
from callboard.db.migrations.turn import turn

VERSION_TABLE: dict[str, Any] = {"version_table": "schema_version", "version_table_schema": "callboard"}
#: Not CREATE SCHEMA IF NOT EXISTS: that needs CREATE on the database even where the schema is there.
CREATE_SCHEMA = """
DO $$
BEGIN
    IF to_regnamespace('callboard') IS NULL THEN
        CREATE SCHEMA callboard;
    END IF;
END $$;
"""


@Operations.register_operation("execute_plain")
class ExecutePlainOp(MigrateOperation):
    """Send a script to the driver untouched; op.execute would read :name and %s in it as parameters."""

    def __init__(self, script: str) -> None:
        self.script = script

    @classmethod
    def execute_plain(cls, operations: Operations, script: str) -> Any:
        return operations.invoke(cls(script))


@Operations.implementation_for(ExecutePlainOp)
def _execute_plain(operations: Operations, operation: ExecutePlainOp) -> None:
    migration_context = operations.migration_context
    if migration_context.as_sql:
        migration_context.impl.static_output(operation.script)
    else:
        connection = migration_context.connection
        assert connection is not None  # noqa: S101 - alembic's contract when not writing SQL
        execute_each(connection.connection.cursor(), operation.script)


def run() -> None:
    if context.is_offline_mode():
        context.configure(
            dialect_name="postgresql", literal_binds=True, transaction_per_migration=True, **VERSION_TABLE
        )
        with context.begin_transaction():
            context.get_context().impl.static_output(CREATE_SCHEMA)
            context.run_migrations()
        return
    connection = context.config.attributes["connection"]
    # Two deploys that migrate at once: the second waits, then finds nothing to do.
    with turn(connection):
        execute_each(connection.connection.cursor(), CREATE_SCHEMA)
        context.configure(connection=connection, **VERSION_TABLE)
        with context.begin_transaction():
            context.run_migrations()


run()
