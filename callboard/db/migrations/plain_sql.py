"""Run a revision that is written in plain SQL, in the file beside it."""

from __future__ import annotations

from pathlib import Path

from alembic import op

VERSIONS_DIR = Path(__file__).parent / "versions"


def run_file(name: str) -> None:
    """Execute versions/<name>.sql as it stands: no parameters, so percent signs and colons mean nothing."""
    op.execute_plain(VERSIONS_DIR.joinpath(f"{name}.sql").read_text(encoding="utf-8"))  # type: ignore[attr-defined]
