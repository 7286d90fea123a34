"""Prepared statements: for a query that runs often and is planned longer than it runs."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2

_PARAMETER = re.compile(r"%\((\w+)\)s")


class Prepared:
    """A statement with %(name)s parameters, prepared at its first use on a connection, in the same round trip.

    types gives each parameter's Postgres type. For connections in autocommit. Where a pooler hands the session to
    others, the plain text runs: a prepared statement would be left to them, and missing where it is needed.
    """

    def __init__(self, name: str, text: str, types: Mapping[str, str]) -> None:
        self._text = text
        self._order: Sequence[str] = tuple(types)
        numbers = {parameter: f"${number}" for number, parameter in enumerate(types, start=1)}
        body = _PARAMETER.sub(lambda found: numbers[found[1]], text)
        # The checksum tells versions of a statement apart where a pooler lets them share a session.
        self.name = f"{name}_{zlib.crc32(body.encode()):08x}"
        self._prepare = f"PREPARE {self.name} ({', '.join(types.values())}) AS {body};"
        self._execute = f"EXECUTE {self.name} ({', '.join(f'%({parameter})s' for parameter in types)})"

    def execute(self, cursor: Any, parameters: Mapping[str, Any], *, before: str = "", after: str = "") -> None:
        """Run the statement; before and after are SQL that goes with it, in one transaction and round trip."""
        if not cursor.connection.keeps_session:
            cursor.execute(f"{before}{self._text}{after}", parameters)
            return
        known: set[str] = cursor.connection.prepared_names
        prepare = "" if self.name in known else self._prepare
        try:
            cursor.execute(f"{before}{prepare}{self._execute}{after}", parameters)
        except psycopg2.errors.DuplicatePreparedStatement:
            cursor.execute(f"{before}{self._execute}{after}", parameters)
        except psycopg2.errors.InvalidSqlStatementName:
            known.discard(self.name)
            cursor.execute(f"{before}{self._text}{after}", parameters)
            return
        known.add(self.name)
