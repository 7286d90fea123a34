"""`callboard audit` shows what operators changed."""

from __future__ import annotations

import json

import psycopg2

from callboard.ops.audit import Operator, record


def test_changes_are_listed_newest_first_in_three_forms(shell, database_url):
    assert (shell.run_callboard("audit").returncode, shell.run_callboard("audit").stdout) == (3, "")
    # Given two changes
    with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
        record(
            cursor, Operator("ann@host", "cli", "the server is back"), "dead retry", filter={"queue": "emails"}, count=5
        )
        record(cursor, Operator("shop", "api"), "queues pause", filter={"ids": ["a", "b"], "until": None}, count=2)
    connection.close()
    # Then each is a row
    table = shell.run_callboard("audit").stdout.splitlines()
    assert [line.split()[3:7] for line in table[1:]] == [
        ["shop", "api", "queues", "pause"],
        ["ann@host", "cli", "dead", "retry"],
    ]
    assert "queue emails" in table[2] and "the server is back" in table[2] and "ids 2 of them" in table[1]
    assert [row["action"] for row in json.loads(shell.run_callboard("audit", "-o", "json").stdout)] == [
        "queues pause",
        "dead retry",
    ]
    assert len(shell.run_callboard("audit", "--action", "dead", "--since", "1h", "-o", "ids").stdout.split()) == 1
    late = shell.run_callboard("audit", "--since", "tomorrow")
    assert (late.returncode, "'tomorrow' is no moment" in late.stderr) == (2, True)
