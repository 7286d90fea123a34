"""Whether every sequence stands behind the column it feeds: a restore or logical replication leaves it at its start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
from psycopg2.sql import SQL

from callboard.db import sql
from callboard.ops.health.findings import Finding, State

#: Time the highest value of a column may take to find, ms; of one without an index, the table is read.
LOOK_MS = 2_000


def examine_sequences(cursor: Any) -> Iterator[Finding]:
    """Yield a finding for each sequence that will give what its column holds already, or one that all are well.

    Needs a cursor in autocommit.
    """
    cursor.execute(sql("health/sequences"))
    behind, unknown = [], []
    sequences = cursor.fetchall()
    for name, table, column, is_unique, last_value in sequences:
        try:
            highest = _highest(cursor, table, column)
        except (psycopg2.errors.QueryCanceled, psycopg2.errors.InsufficientPrivilege):
            unknown.append(name)
            continue
        if highest is not None and last_value is None and not _may_read(cursor, name):
            unknown.append(name)
        elif highest is not None and highest > (last_value or 0):
            behind.append(_behind(name, table, column, highest, last_value, is_unique=is_unique))
    yield from behind
    if unknown:
        advice = "Let the owner of the schemas run callboard doctor."
        text = f"Not compared with their columns, as this role may not or it takes too long: {', '.join(unknown)}."
        yield Finding("sequences", State.SKIPPED, text, advice)
    elif not behind:
        yield Finding("sequences", State.OK, f"All {len(sequences)} stand behind what their columns hold.")


def _behind(name: str, table: str, column: str, highest: int, last_value: int | None, *, is_unique: bool) -> Finding:
    text = f"{name} stands at {last_value or 'its start'}, and {table} holds {column} {highest} already."
    advice = f"Set it after what is there: SELECT setval('{name}', (SELECT max({column}) FROM {table}));"  # noqa: S608 - printed
    return Finding("sequences", State.FAILED if is_unique else State.WARNING, text, advice)


def _highest(cursor: Any, table: str, column: str) -> int | None:
    # Names from the catalogue, quoted by it.
    look = SQL("SET LOCAL statement_timeout = {}; SELECT max({}) FROM {}").format(
        SQL(str(LOOK_MS)), SQL(column), SQL(table)
    )
    cursor.execute(look)
    found: int | None = cursor.fetchone()[0]
    return found


def _may_read(cursor: Any, name: str) -> bool:
    cursor.execute("SELECT has_sequence_privilege(%s, 'USAGE, SELECT')", (name,))
    return bool(cursor.fetchone()[0])
