"""What a statement needs, as Postgres itself sees it: the rights it will check, read off the tree it made of the text.

Postgres 16 and newer list them in each query's tree (RTEPERMISSIONINFO), so the embedded server is asked.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

#: Bits of requiredPerms.
PRIVILEGES = {1: "INSERT", 2: "SELECT", 4: "UPDATE", 8: "DELETE"}
#: Column 1 is bit 8: seven system columns and the whole row come before.
FIRST_COLUMN = 7
_NODE = re.compile(
    r"RTEPERMISSIONINFO :relid (\d+) :inh \w+ :requiredPerms (\d+) :checkAsUser (\d+)"
    r" :selectedCols \(b([\d ]*)\) :insertedCols \(b([\d ]*)\) :updatedCols \(b([\d ]*)\)"
)
_SEQUENCE = re.compile(r"nextval\('([\w.]+)'\)|pg_get_serial_sequence\('([\w.]+)', '(\w+)'\)")


class Right(NamedTuple):
    """A privilege on a column of a table; column is None for the table as a whole, or any one of its columns."""

    privilege: str
    table: str
    column: str | None


def rights_of(connection: Any, statement: str) -> set[Right]:
    """Return what a statement of ours needs; its parameters become NULL."""
    text = re.sub(r"%\((\w+)\)s", "NULL", statement).replace("%%", "%")
    connection.notices.clear()
    with connection.cursor() as cursor:
        cursor.execute("SET client_min_messages = log; SET debug_print_rewritten = on; SET debug_pretty_print = off")
        cursor.execute(f"PREPARE looked_at AS {text}")
        cursor.execute("RESET client_min_messages; RESET debug_print_rewritten; DEALLOCATE looked_at")
        found: set[Right] = set()
        for node in _NODE.finditer(" ".join(" ".join(connection.notices).split())):
            if node[3] == "0":  # Else it is checked for the owner of a view.
                found |= _rights(cursor, node)
        for sequence, table, column in _SEQUENCE.findall(text):
            if table:
                cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", (table, column))
                [(sequence,)] = cursor.fetchall()  # noqa: PLW2901 - the one behind the column
            found.add(Right("USAGE", sequence, None))
    return found


def _rights(cursor: Any, node: re.Match[str]) -> set[Right]:
    cursor.execute(
        "SELECT nspname || '.' || relname, nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE pg_class.oid = %s",
        (node[1],),
    )
    [(table, schema)] = cursor.fetchall()
    if schema in ("pg_catalog", "information_schema"):
        return set()
    cursor.execute("SELECT attnum, attname FROM pg_attribute WHERE attrelid = %s AND NOT attisdropped", (node[1],))
    names = dict(cursor.fetchall())
    columns = {"SELECT": node[4], "INSERT": node[5], "UPDATE": node[6]}
    found = set()
    for bit, privilege in PRIVILEGES.items():
        if not int(node[2]) & bit:
            continue
        numbers = [int(number) - FIRST_COLUMN for number in columns.get(privilege, "").split()]
        if 0 in numbers:
            numbers = [number for number in names if number > 0]
        found |= {Right(privilege, table, names[number]) for number in numbers if number > 0}
        if not numbers:
            found.add(Right(privilege, table, None))
    return found
