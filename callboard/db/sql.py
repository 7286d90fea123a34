"""SQL statements, one a file, named by their verb and loaded once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

SQL_DIR = Path(__file__).parent / "sql"


@cache
def sql(name: str) -> str:
    """Return the statement in sql/<name>.sql without its comments, which would travel with every query.

    name may hold a folder: sql("claiming/claim").
    """
    lines = (SQL_DIR / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--")).strip()
