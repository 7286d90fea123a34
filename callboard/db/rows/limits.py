"""Proving the limits of tables that a migration declared, for the rows that were there before them.

After the migration, in transactions of their own: each table is read once, and nobody is kept from reading or writing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg2

from callboard.log import get_logger

log = get_logger(__name__)

KEPT = Path(__file__).parents[1] / "migrations" / "versions" / "0010_row_limits_kept.sql"

UNPROVED = """
    SELECT format('ALTER TABLE %I.%I VALIDATE CONSTRAINT %I', nspname, relname, conname), conname
    FROM pg_constraint
    JOIN pg_class ON pg_class.oid = conrelid
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE contype = 'c' AND NOT convalidated
        AND (nspname = 'callboard' OR (nspname = 'dramatiq' AND relname = 'queue'))
    ORDER BY nspname, relname, conname
"""


def prove_limits(connection: Any) -> None:
    """Prove every limit that is not proved yet, on a connection in autocommit; what is locked is left for next time."""
    with connection.cursor() as cursor:
        cursor.execute(UNPROVED)
        for statement, name in cursor.fetchall():
            try:
                _prove(cursor, statement)
            except psycopg2.errors.LockNotAvailable:
                log.warning("limit is in force, and not proved for older rows; run the upgrade again", limit=name)


def statements() -> str:
    """Return what proves the limits, for people who run the printed SQL."""
    return f"""
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN SELECT each.format FROM ({UNPROVED}) AS each LOOP
        EXECUTE statement;
    END LOOP;
END $$;
"""  # noqa: S608 - made of a constant


def _prove(cursor: Any, statement: str) -> None:
    try:
        cursor.execute(f"SET lock_timeout = '5s'; {statement}")
    except psycopg2.errors.CheckViolation:
        # It came in between the two steps of the migration.
        cursor.execute(f"BEGIN; {KEPT.read_text(encoding='utf-8')} COMMIT")
        cursor.execute(statement)
