"""callboard settings: what counts, and where it was set."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from callboard.cli.output import Form, note, show

if TYPE_CHECKING:
    from callboard.settings import Settings

EXIT_CONFIGURATION = 2


class Role(StrEnum):
    """Whoever reads settings."""

    PRODUCER = "producer"
    MIGRATOR = "migrator"
    OPERATOR = "operator"
    WORKER = "worker"
    WORK = "work"
    API = "api"


RoleOption = Annotated[
    Role | None,
    typer.Option("--role", help="Only what stops producer, migrator, operator, worker, work or api; default: any"),
]
COLUMNS = {
    "setting": lambda row: row.setting,
    "value": lambda row: row.value,
    "source": lambda row: f"{row.source} ✗" if row.problem else row.source,
}


def settings(
    role: RoleOption = None,
    output: Annotated[Form, typer.Option("--output", "-o", help="table, json or ids")] = Form.TABLE,
) -> None:
    """Show what counts of every setting and where it was set; secrets only as set. Exits 2 if something is wrong."""
    from callboard.db.connections.target import say_dropped
    from callboard.settings import fields_of, successors
    from callboard.settings.overview import overview

    found, rows = overview()
    if role is not None:
        used = {name.upper() for name in fields_of(role, type(found).model_fields)}
        own = {name.upper() for name in type(found).model_fields}
        rows = [row for row in rows if row.setting in used or row.setting not in own]
    show(rows, COLUMNS, output, id_of=lambda row: row.setting)
    say_dropped(found.dropped, note)
    for line in [*found.warnings, *successors(os.environ)]:
        note(line)
    if problems := _problems(found, role):
        note("\n".join(["What is wrong:", *problems]))
        sys.exit(EXIT_CONFIGURATION)


def _problems(found: Settings, role: Role | None) -> list[str]:
    return list(dict.fromkeys(found.faults.values())) if role is None else found.problems_of(role)
