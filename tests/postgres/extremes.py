"""Every column of ours at the extremes of its type, read from the catalogue."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg2

#: The seed is fixed: a run that fails can be repeated.
_noise = random.Random(9)  # noqa: S311 - no secret
NOISE = "".join(_noise.choices("0123456789abcdef", k=100_000))
LONG = '"' + NOISE * 12 + '"'
DEEP = "[" * 3_000 + "]" * 3_000

MESSAGE = '{{"actor_name": {actor}, "args": {args}, "kwargs": {kwargs}, "options": {options}, "queue_name": "jobs"}}'
PARTS = {"actor": '"job"', "args": "[]", "kwargs": "{}", "options": "{}"}


def message(**parts: str) -> str:
    return MESSAGE.format(**{**PARTS, **parts})


MESSAGES = [
    *(message(actor=value) for value in ("7", "null", '["job"]', '{"a": 1}', '""', '"' + NOISE + '"', '"unknown"')),
    *(
        message(args=value)
        for value in ("7", "null", '"text"', '{"a": 1}', DEEP, "[1" + "0" * 5_000 + "]", f"[{LONG}]")
    ),
    *(message(kwargs=value) for value in ("7", "null", "[]", '{"a": 1}', '{"\\u0001": 1e400}', '{"a": "\\u202e"}')),
    *(
        message(options=value)
        for value in (
            "7",
            "null",
            "[]",
            '{"retries": "many", "max_retries": "none", "min_backoff": [], "max_backoff": {}, "time_limit": "long"}',
            '{"retries": 1e300, "max_retries": -1e300, "retry_for": -1, "max_age": "old", "notify_shutdown": 7}',
            '{"pipe_target": 7, "pipe_ignore": "x", "group_completion_uuid": 7, "group_completion_callbacks": 7}',
            '{"pipe_target": {"actor_name": 7}, "on_success": 7, "on_failure": [], "on_retry_exhausted": 7}',
            '{"slot_at": "never", "schedule": 7, "priority": "high", "dedupe_key": [], "store_results": "x"}',
            '{"traceback": 7, "requeue_timestamp": "x", "retrying_since": "x", "throws": "Exception", "eta": "x"}',
        )
    ),
]
JSON = ["null", "1", '"x"', "[]", "{}", DEEP, "1" + "0" * 5_000, "1e400", LONG, '"\\u0001\\u001b[31m\\u202e"']

EXTREMES: dict[str, list[Any]] = {
    "integer": [-(2**31), -1, 0, 2**31 - 1],
    "bigint": [-(2**63), -1, 0, 2**63 - 1],
    "double precision": ["NaN", "Infinity", "-Infinity", 1.7e308, -1.7e308],
    "numeric(14,2)": ["NaN", "999999999999.99", "0.01"],
    "boolean": [True, False],
    "text": ["", "x", NOISE, "x" * 1_000_000, "a\x01\x1b[31mb\nc\u202ed", " jobs ", "jobs.DQ", ".DQ", "привет"],
    "text[]": [[], [None], [NOISE], ["jobs", ""], [["a", "b"], ["c", "d"]]],
    "uuid": [str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1))],
    "jsonb": JSON,
    "bytea": [b"", b"\x00" * 100, NOISE.encode()],
    "inet": ["0.0.0.0/0", "::1"],
    "timestamp with time zone": [
        "infinity",
        "-infinity",
        "294276-12-31 23:59:59+00",
        "4713-01-01 00:00:00+00 BC",
        "20000-01-01",
        "0001-01-01",
        "1900-01-01 00:00:00+00",
        "8999-12-31 00:00:00+00",
    ],
    "dramatiq.state": ["queued", "running", "done", "dead"],
}

#: What a row needs beside the column that is at its extreme, where the column's type does not say it.
VALID: dict[tuple[str, str], Any] = {
    ("dramatiq.queue", "message"): message(),
    ("dramatiq.queue", "queue_name"): "jobs",
    ("callboard.message_history", "outcome"): "done",
    ("callboard.attempts", "outcome"): "retry",
    ("callboard.dead_letters", "reason"): "permanent",
    ("callboard.audit_log", "via"): "cli",
    ("callboard.schedules", "catch_up"): "latest",
    ("callboard.emails", "state"): "sending",
    ("callboard.payments", "currency"): "RUB",
    ("callboard.payments", "amount"): 1,
}
_PLAIN: dict[str, Any] = {
    "integer": 1,
    "bigint": 1,
    "double precision": 1,
    "numeric(14,2)": 1,
    "boolean": False,
    "text[]": [],
    "jsonb": "{}",
    "bytea": b"x",
    "inet": "127.0.0.1",
    "dramatiq.state": "queued",
}

COLUMNS = """
    SELECT
        n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef
            AND a.attidentity = ''
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
        AND (n.nspname = 'callboard' OR n.nspname = 'dramatiq') AND c.relname <> 'schema_version'
    ORDER BY 1, a.attnum
"""
#: The columns that a producer may write.
PRODUCER_COLUMNS = ("message_id", "queue_name", "state", "message", "priority", "available_at", "dedupe_key")


class Extremes:
    """Writes the rows, each in a transaction of its own, and counts those that are refused."""

    def __init__(self, connection: Any, *, writer: Any = None) -> None:
        self._writer = writer or connection
        with connection.cursor() as cursor:
            cursor.execute(COLUMNS)
            self.columns: list[tuple[str, str, str, bool]] = cursor.fetchall()
        self.written = self.refused = 0

    def rows(self, tables: set[str], columns: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every row: one column of it is at an extreme."""
        for table, name, kind, _ in self.columns:
            if table not in tables or (columns and name not in columns):
                continue
            extremes = MESSAGES + JSON if (table, name) == ("dramatiq.queue", "message") else EXTREMES[kind]
            for extreme in extremes:
                row = {**self._base(table), name: extreme}
                if table == "dramatiq.queue" and row.get("state") == "running" and not columns:
                    row = {"lease_id": 2**62, "worker_id": str(uuid.uuid4()), **row}
                yield table, row

    def _base(self, table: str) -> dict[str, Any]:
        base: dict[str, Any] = {"message_id": str(uuid.uuid4())} if table == "dramatiq.queue" else {}
        for other, name, kind, is_needed in self.columns:
            if other == table and (is_needed or (table, name) in VALID):
                if kind == "timestamp with time zone":
                    base[name] = "now"
                elif kind in ("uuid", "text") and (table, name) not in VALID:
                    base[name] = str(uuid.uuid4())
                else:
                    base[name] = VALID.get((table, name), _PLAIN.get(kind))
        return base

    def write(self, table: str, row: dict[str, Any]) -> bool:
        """Write a row; return whether Postgres took it."""
        names = ", ".join(row)
        try:
            with self._writer.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO {table} ({names}) VALUES ({', '.join(f'%({name})s' for name in row)})", row
                )
        except psycopg2.Error as error:
            if not error.pgcode:
                raise
            self.refused += 1
            return False
        self.written += 1
        return True
