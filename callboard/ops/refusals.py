"""What Postgres says when it refuses a statement, as a sentence that tells an operator what to do."""

from __future__ import annotations

import psycopg2
from psycopg2 import errors

from callboard.db.grants import refusal
from callboard.db.rows.values import said

#: SQL state classes and states, the narrowest first; {said} is Postgres's own first line.
_SENTENCES: tuple[tuple[tuple[type[psycopg2.Error], ...], str], ...] = (
    (
        (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction, errors.InvalidSchemaName),
        "The database lacks a part of Callboard's schema ({said}). Run: callboard db upgrade",
    ),
    (
        (errors.ReadOnlySqlTransaction,),
        (
            "The database takes no changes ({said}). It is a standby, or was made read-only, as providers do when a "
            "disk is full: set DATABASE_URL to the primary, or free its disk."
        ),
    ),
    (
        (errors.LockNotAvailable, errors.DeadlockDetected),
        (
            "Another transaction holds what this needs ({said}). Wait until it ends and give the command again; "
            "callboard doctor names transactions that have been open for long."
        ),
    ),
    (
        (errors.QueryCanceled,),
        (
            "Postgres ended the statement before it was done ({said}). Give a narrower filter, or try again when it "
            "has less to do."
        ),
    ),
)
_OTHER = "Postgres refused this ({said}). Look at the whole of the database with: callboard doctor"


def refusal_text(error: psycopg2.Error) -> str:
    """Say what Postgres refused, why, and what helps; the transaction was rolled back."""
    if isinstance(error, errors.InsufficientPrivilege):
        return refusal("api", said(error))
    sentence = next((text for kinds, text in _SENTENCES if isinstance(error, kinds)), _OTHER)
    return sentence.format(said=said(error))
