"""The schema's revision: bring a database up to date, and refuse to work on one that is behind or not UTF-8."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2

from callboard.db.connections.session import connect
from callboard.db.rows import limits
from callboard.db.rows.values import said
from callboard.db.upgrade_refusals import refusals
from callboard.errors import DatabaseUnfit, InvalidRequest, SchemaOutdated

if TYPE_CHECKING:
    from alembic.config import Config

#: The revision this code was written for; a test holds it equal to the newest file in migrations/versions.
REVISION = "0011"
#: Without the limits of other connections: an index of a large table is built for minutes.
MIGRATION_SETTINGS = {"lock_timeout": "0", "idle_in_transaction_session_timeout": "0", "statement_timeout": "0"}
MIGRATIONS_DIR = Path(__file__).parent / "migrations"


def current_revision(connection: Any) -> str | None:
    """Return the database's revision, or None for an empty database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('callboard.schema_version')")
        if cursor.fetchone()[0] is None:
            return None
        cursor.execute("SELECT version_num FROM callboard.schema_version")
        row = cursor.fetchone()
    return row[0] if row else None


def check_encoding(connection: Any) -> None:
    """Raise DatabaseUnfit unless the database keeps its texts in UTF-8; asks nothing: Postgres said it at connect."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):
        raise DatabaseUnfit(
            f"The database {connection.info.dbname!r} keeps texts in {encoding}, which cannot hold every name and "
            "address: Callboard needs UTF8. Make another: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def check_revision(connection: Any) -> None:
    """Raise SchemaOutdated with the command that helps unless the database has at least our revision.

    A newer database is fine: every migration works with the code before it, so that a rollout
    migrates first and replaces workers after. Raises: DatabaseUnfit.
    """
    check_encoding(connection)
    found = current_revision(connection)
    if found is None or found < REVISION:
        raise SchemaOutdated(
            f"The database is at schema revision {found or 'none'}, this version needs {REVISION}. "
            "Run: callboard db upgrade"
        )


@contextmanager
def expected() -> Iterator[None]:
    """Turn the absence of our tables and functions inside the block into SchemaOutdated."""
    try:
        yield
    except (
        psycopg2.errors.UndefinedTable,
        psycopg2.errors.UndefinedColumn,
        psycopg2.errors.UndefinedFunction,
        psycopg2.errors.InvalidSchemaName,
    ) as error:
        raise SchemaOutdated(
            f"The database lacks a part of Callboard's schema ({said(error)}). Run: callboard db upgrade"
        ) from error


def upgrade(url: str) -> str:
    """Apply the missing revisions, each in a transaction of its own, and return the one the database is at.

    One that has them all, or newer ones, is only read. Raises: DatabaseUnavailable, DatabaseUnfit, UpgradeRefused.
    """
    from alembic import command
    from sqlalchemy import NullPool, create_engine

    with refusals(lambda: _connect(url)):
        opened = _connect(url)
        with contextlib.closing(opened):
            check_encoding(opened)
            found = current_revision(opened)
        if found is not None and found.isdigit() and found >= REVISION:
            return found
        engine = create_engine("postgresql+psycopg2://", creator=lambda: _connect(url), poolclass=NullPool)
        with engine.connect() as connection:
            config = _alembic_config()
            config.attributes["connection"] = connection
            for revision in _revisions(config):
                # One at a time, each found done where another upgrade has done it meanwhile.
                command.upgrade(config, revision)
        with contextlib.closing(_connect(url)) as proving:
            proving.autocommit = True
            limits.prove_limits(proving)
    return REVISION


def upgrade_sql(from_revision: str | None = None) -> str:
    """Return the SQL that upgrade() would run, for people who review it or run it themselves.

    Raises: InvalidRequest for a revision that there is not.
    """
    from alembic import command
    from alembic.util import CommandError

    output = io.StringIO()
    config = _alembic_config(output)
    try:
        command.upgrade(config, f"{from_revision}:head" if from_revision else "head", sql=True)
    except CommandError as error:
        raise InvalidRequest(
            f"There is no revision {from_revision!r}. See the database's with: callboard db current"
        ) from error
    return output.getvalue() + limits.statements()


def _connect(url: str) -> Any:
    # Statements of a migration may wait in a transaction for longer than any other of ours.
    return connect(url, application_name="callboard migrations", settings=MIGRATION_SETTINGS)


def _revisions(config: Config) -> list[str]:
    """Return all revisions, the oldest first."""
    from alembic.script import ScriptDirectory

    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def _alembic_config(output: io.StringIO | None = None) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output) if output is not None else Config()
    # A percent sign in the path would be read as an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS_DIR).replace("%", "%%"))
    return config
