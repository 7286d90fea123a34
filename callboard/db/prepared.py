"""Prepared statements: for a query that runs often and is planned longer than it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_PARAMETER = re.compile(r"%\((\w+)\)s")


class Prepared:
    """A statement with %(name)s parameters, prepared once a connection under its own name.

    types gives each parameter's Postgres type. PgBouncer in transaction mode forgets prepared statements; run the
    plain text there.
    """

    def __init__(self, name: str, text: str, types: Mapping[str, str]) -> None:
        self._name = name
        self._order: Sequence[str] = tuple(types)
        numbers = {parameter: f"${number}" for number, parameter in enumerate(types, start=1)}
        body = _PARAMETER.sub(lambda found: numbers[found[1]], text)
        self._prepare = f"PREPARE {name} ({', '.join(types.values())}) AS {body}"
        self._execute = f"EXECUTE {name} ({', '.join(f'%({parameter})s' for parameter in types)})"

    def prepare(self, cursor: Any) -> None:
        """Prepare the statement on the cursor's connection."""
        cursor.execute(self._prepare)

    def execute(self, cursor: Any, parameters: Mapping[str, Any]) -> None:
        cursor.execute(self._execute, {name: parameters[name] for name in self._order})
