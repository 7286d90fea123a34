"""Run a revision that is written in plain SQL, in the file beside it, a statement at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
from alembic import op

VERSIONS_DIR = Path(__file__).parent / "versions"
#: What may hold a semicolon that ends no statement, and the one that does.
_PARTS = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\"[^\"]*\"|(\$\w*\$).*?\1|(;)", re.DOTALL)


class StatementRefused(Exception):
    """Postgres refused a statement of a revision; the cause is what it said."""

    def __init__(self, statement: str) -> None:
        super().__init__(statement)
        self.statement = statement


def run_file(name: str) -> None:
    """Execute versions/<name>.sql as it stands: no parameters, so percent signs and colons mean nothing."""
    op.execute_plain(VERSIONS_DIR.joinpath(f"{name}.sql").read_text(encoding="utf-8"))  # type: ignore[attr-defined]


def execute_each(cursor: Any, script: str) -> None:
    """Execute a script's statements one by one, so that a refusal can say which it was.

    Raises: StatementRefused.
    """
    for statement in statements_of(script):
        try:
            cursor.execute(statement)
        except psycopg2.Error as error:
            raise StatementRefused(statement) from error


def statements_of(script: str) -> Iterator[str]:
    """Cut a script at the semicolons that end its statements."""
    start = 0
    for found in _PARTS.finditer(script):
        if found[2]:
            yield script[start : found.end()].strip()
            start = found.end()
    if re.sub(r"--[^\n]*", "", script[start:]).strip():
        yield script[start:].strip()
