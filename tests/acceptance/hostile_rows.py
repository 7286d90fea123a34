"""Every text column of every table holds what a stranger might send to steer a terminal or a shell."""

from __future__ import annotations

import re
import unicodedata
import uuid
from typing import Any

import psycopg2
from psycopg2 import sql

from tests.postgres.ops.rows import Rows, days_ago
from tests.postgres.ops.scene import Scene

#: No line of any output begins with it: the line break before it must have been shown, not obeyed.
FORGED = "FORGED-LINE"
#: Sets a title, clears the screen, colours (as ESC and as one byte), turns the reading direction, hides, overwrites.
HOSTILE = (
    f"q\x1b]0;owned\x07\x1b[2J\x1b[8m\x9b31m\u202egpj.exe\u2066\u200b\u2028\r$(touch pwned);'\n{FORGED}: all is well"
)
#: What our own tables colour with, on a terminal only.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def trouble_in(output: str, *, is_terminal: bool = False) -> set[str]:
    """Return what of the hostile text came through."""
    if is_terminal:
        output = _COLOURS.sub("", output).replace("\r\n", "\n")
    through = {
        repr(char) for char in output if char != "\n" and not char.isprintable() and unicodedata.category(char) != "Zs"
    }
    return through | {line for line in output.splitlines() if line.startswith(FORGED)}


def write_hostile_rows(connection: Any) -> dict[str, str]:
    """Write a row into each table that commands show, spoil all of their text, and return ids by what they are of."""
    cursor = connection.cursor()
    scene = Scene(cursor)

    def query(statement: str, *parameters: Any, **named: Any) -> list[Any]:
        cursor.execute(statement, parameters or named or None)
        return cursor.fetchall() if cursor.description else []

    rows = Rows(query)
    worker = scene.worker("jobs")
    ids = {"queued": rows.queued(), "delayed": rows.queued(available_at=days_ago(-1), wait_reason="later")}
    ids["running"] = rows.queued(state="running", lease_id=1, worker_id=worker, claimed_at=days_ago(0.1))
    ids["done"] = rows.history(0.1, worker_id=worker)
    error = {"error_class": "E", "error_message": "text", "traceback": "text"}
    ids["dead"] = rows.dead(0.01, **error)
    rows.attempt(0.01, ids["dead"], outcome="dead", worker_id=worker, reason="permanent", **error)
    rows.attempt(0.01, ids["delayed"], outcome="retry", worker_id=worker, **error)
    rows.insert("callboard.queue_controls", queue_name="jobs", is_paused=True, reason="why", changed_by="ann")
    rows.insert("callboard.audit_log", operator="ann", via="cli", action="dead retry", count=1, reason="why")
    rows.insert("callboard.actors", actor_name="job", queue_name="jobs")
    _spoil(connection)
    return ids


def _spoil(connection: Any) -> None:
    """Put the hostile text into every text column that takes it."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
        "JOIN information_schema.tables USING (table_schema, table_name) "
        "WHERE table_schema IN ('callboard', 'dramatiq') AND table_type = 'BASE TABLE' AND is_generated = 'NEVER' "
        "AND data_type IN ('text', 'ARRAY', 'jsonb') AND table_name <> 'schema_version'"
    )
    spoiled = set()
    for schema, table, column, kind in cursor.fetchall():
        value: Any = {"text": HOSTILE, "ARRAY": [HOSTILE], "jsonb": psycopg2.extras.Json(_message())}[kind]
        statement = sql.SQL("UPDATE {}.{} SET {} = %s").format(*map(sql.Identifier, (schema, table, column)))
        try:
            cursor.execute(statement, (value,))
            spoiled.add(f"{table}.{column}")
        except (psycopg2.IntegrityError, psycopg2.DataError):
            continue  # A CHECK keeps it to known words, or rows would be the same.
    missing = {"queue.queue_name", "dead_letters.error_message", "queue_controls.reason", "workers.hostname"} - spoiled
    assert not missing, missing


def _message() -> dict[str, Any]:
    call = {"actor_name": HOSTILE, "queue_name": HOSTILE, "args": [HOSTILE], "kwargs": {HOSTILE: HOSTILE}}
    return {**call, "options": {"traceback": HOSTILE}, "message_id": str(uuid.uuid4()), "message_timestamp": 0}
