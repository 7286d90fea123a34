"""Why Postgres refuses to upgrade the schema, in one sentence that names the statement and what is missing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import errors

from callboard.db.rows.values import said
from callboard.db.sql import sql
from callboard.errors import DatabaseMisconfigured, DatabaseUnavailable, UpgradeRefused, one_line

#: Opens a connection to the database that refused.
Connect = Callable[[], Any]

#: Longest part of a statement that a sentence shows, characters.
STATEMENT_MAX = 100
#: Missing grants that a sentence names.
MISSING_MAX = 3
#: What is there already and is not what the migrations make of it.
_FOREIGN = (
    errors.DuplicateTable,
    errors.DuplicateObject,
    errors.DuplicateColumn,
    errors.DuplicateFunction,
    errors.DuplicateSchema,
    errors.WrongObjectType,
    errors.InvalidTableDefinition,
    errors.InvalidObjectDefinition,
    errors.InvalidColumnReference,
    errors.UndefinedColumn,
    errors.UndefinedObject,
    errors.UndefinedTable,
    errors.DatatypeMismatch,
    errors.UndefinedFunction,
    errors.InvalidParameterValue,
    errors.IntegrityConstraintViolation,
    errors.NotNullViolation,
    errors.UniqueViolation,
    errors.CheckViolation,
    errors.FeatureNotSupported,
    psycopg2.DataError,
)
_WAITED = (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled)


@contextmanager
def refusals(connect: Connect) -> Iterator[None]:
    """Turn whatever Postgres, SQLAlchemy or alembic says of the block into UpgradeRefused."""
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    from callboard.db.migrations.plain_sql import StatementRefused

    try:
        yield
    except psycopg2.Error as error:
        raise _refusal(connect, error, "") from error
    except StatementRefused as refused:
        cause = refused.__cause__
        assert isinstance(cause, psycopg2.Error)  # noqa: S101 - it is raised from nothing else
        raise _refusal(connect, cause, refused.statement) from cause
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg2.Error):
            raise
        raise _refusal(connect, error.orig, error.statement or "") from error
    except (CommandError, SQLAlchemyError) as error:
        raise UpgradeRefused(
            f"The schema was not upgraded: {one_line(str(error))}; the table callboard.schema_version does not "
            "hold one revision of Callboard's, so put the one there that the schema has."
        ) from error


def _refusal(connect: Connect, error: psycopg2.Error, statement: str) -> UpgradeRefused:
    asked = _asked(error, statement)
    place = f"at {asked}, and the revision it came in was undone" if asked else "at a look at callboard.schema_version"
    return UpgradeRefused(
        f"The schema was not upgraded: Postgres said {said(error)!r} {place}; {_remedy(connect, error)}"
    )


def _asked(error: psycopg2.Error, statement: str) -> str:
    """Return the beginning of what was refused; of a block of code, the statement in it."""
    inner = re.search(r'SQL statement "(.*?)"', error.diag.context or "", re.DOTALL)
    text = one_line(re.sub(r"--[^\n]*", "", inner[1] if inner else statement))
    return text if len(text) <= STATEMENT_MAX else text[: STATEMENT_MAX - 1].rstrip() + "…"


def _remedy(connect: Connect, error: psycopg2.Error) -> str:
    again = "then run it again: callboard db upgrade"
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return (
            "it is a replica, or takes no changes from this role: set DATABASE_URL to the primary and to a role "
            f"without default_transaction_read_only, {again}"
        )
    try:
        with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
            if isinstance(error, errors.InsufficientPrivilege):
                return _missing(cursor, said(error), again)
            if isinstance(error, _WAITED):
                return _holder(cursor, again)
    except (psycopg2.Error, DatabaseMisconfigured, DatabaseUnavailable):
        return "run it again when Postgres answers: callboard db upgrade"
    if isinstance(error, _FOREIGN):
        return (
            "something of that name is there which Callboard did not make: rename it or move it away, or give "
            f"Callboard a database of its own, {again}"
        )
    return f"mend what it says, {again}"


def _missing(cursor: Any, refusal: str, again: str) -> str:
    cursor.execute("SELECT current_user")
    role = cursor.fetchone()[0]
    cursor.execute(sql("schema/missing_rights"))
    missing = cursor.fetchall()
    if not missing:
        return f"give role {role} that right, or run it as the owner of the schemas callboard and dramatiq, {again}"
    # What Postgres has named comes first; in its language, but names are names.
    words = set(re.findall(r"\w+", refusal))
    missing.sort(key=lambda row: not words & set(re.findall(r"\w+", row[0])[-1:]))
    named = ", ".join(what for what, _ in missing[:MISSING_MAX])
    more = f" and {len(missing) - MISSING_MAX} more" if len(missing) > MISSING_MAX else ""
    remedies = "; ".join(remedy for _, remedy in missing[:MISSING_MAX])
    return f"role {role} lacks {named}{more}: let a superuser or the owner say {remedies}; {again}"


def _holder(cursor: Any, again: str) -> str:
    cursor.execute(sql("schema/lock_holder"))
    holder = cursor.fetchone()
    if holder is None:
        return f"another transaction held a lock that it needs: wait until that one ends, {again}"
    pid, name, age_s = holder
    age = f", open for {age_s:.0f} s" if age_s is not None else ""
    return (
        f"a lock that it needs is held by another transaction, perhaps that of process {pid} ({name}{age}): wait until "
        f"it ends, or end it with SELECT pg_terminate_backend({pid}), {again}"
    )
