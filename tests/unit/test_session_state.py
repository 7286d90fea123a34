"""The table of docs/scaling.md names every use of a session's state, file by file."""

from __future__ import annotations

import re

import pytest

from tests.unit.pages import ROOT, names_of, rows_of

#: How each use looks in code and SQL. Comments and texts count as well: better named once too often.
USES = {
    "options at the start": r"\"options\": \" \"\.join",
    "settings of a transaction": r"SET LOCAL|set_config\(|SET TRANSACTION|SET SESSION",
    "client_encoding": r"client_encoding",
    "application_name": r"\"application_name\":",
    "LISTEN": r"f?\"LISTEN ",
    "prepared statement": r"PREPARE ",
    "advisory lock of a session": r"pg_(try_)?advisory_(un)?lock(_shared)?\(",
    "advisory lock of a transaction": r"pg_(try_)?advisory_xact_lock",
    "cursor on the server": r"cursor\(name=|DECLARE \w+ CURSOR",
    "savepoint": r"SAVEPOINT ",
    "temporary table": r"TEMP(ORARY)? TABLE|INTO TEMP",
    "ending a session": r"SELECT pg_terminate_backend\((?!\{pid\}\);)",
}
ROOMS = ("callboard", "actors", "middleware")


def sources():
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            # Migrations are one transaction each, and never edited; dev runs a server of its own.
            name = path.relative_to(ROOT).as_posix()
            if path.suffix in (".py", ".sql") and not name.startswith(
                ("callboard/db/migrations/versions", "callboard/dev")
            ):
                yield name, path.read_text(encoding="utf-8")


def test_the_table_has_a_row_for_each_use():
    assert [row[0] for row in rows_of("docs/scaling.md", section="Behind a pooler")] == list(USES)


@pytest.mark.parametrize("use", USES)
def test_each_use_is_named_with_its_files(use):
    [row] = [row for row in rows_of("docs/scaling.md", section="Behind a pooler") if row[0] == use]
    found = {name for name, text in sources() if re.search(USES[use], text)}
    assert set(names_of([row], 1)) == found
    assert (row[1] == "nowhere") == (not found)
