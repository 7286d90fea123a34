"""Options that several groups of commands take."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="JSONPATH",
        help="""Only those whose arguments fit a JSON path: '$.to == "ann@example.org"'.""",
    ),
]


def read_ids(ids: list[str]) -> list[str]:
    """Return the ids that were typed, with those on stdin in place of a dash."""
    return [id_ for typed in ids for id_ in (sys.stdin.read().split() if typed == "-" else [typed])]
