"""Commands on a database that somebody else owns: sentences, exit codes, and grants that Postgres takes as printed."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

from callboard.db import schema

ROLE = "guest"


@pytest.fixture
def owned_url(embedded_server):
    """An empty database where a role of ours may do nothing; its address."""
    url = embedded_server.recreate_database("owned_by_others")
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN")
    return url


def as_role(url):
    return url.replace("postgres@", f"{ROLE}@", 1)


# The role is filled in later: its name differs in each process of a parallel run, and names of tests must not.
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["db", "upgrade"], "GRANT CREATE ON DATABASE owned_by_others TO {role}"),
        (["db", "check"], "callboard db upgrade"),
        (["db", "sql", "--from", "9999"], "9999"),
    ],
)
def test_a_refusal_is_one_line_and_no_traceback(command, says, shell, owned_url):
    done = shell.run_callboard(*command, DATABASE_URL=as_role(owned_url))
    assert done.returncode == (2 if "sql" in command else 1)
    assert says.format(role=ROLE) in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("command", [["db", "check"], ["db", "current"]])
def test_a_schema_that_may_not_be_used_is_named_with_its_grant(command, shell, owned_url):
    schema.upgrade(owned_url)
    done = shell.run_callboard(*command, DATABASE_URL=as_role(owned_url))
    assert done.returncode == 1
    assert "GRANT USAGE ON SCHEMA callboard, dramatiq" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["db", "upgrade"], ["db", "check"], ["doctor"]])
def test_a_database_that_is_not_utf8_is_refused_by_every_command_that_looks(command, shell, embedded_server):
    with contextlib.closing(psycopg2.connect(embedded_server.url())) as connection:
        connection.autocommit = True
        connection.cursor().execute("DROP DATABASE IF EXISTS latin")
        connection.cursor().execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    done = shell.run_callboard(*command, DATABASE_URL=embedded_server.url("latin"))
    assert done.returncode == (4 if command == ["doctor"] else 1)
    assert "LATIN1" in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_what_grants_prints_is_sql_that_gives_them(shell, owned_url):
    schema.upgrade(owned_url)
    printed = shell.run_callboard("db", "grants", "--worker", ROLE, "--api", ROLE).stdout
    with contextlib.closing(psycopg2.connect(owned_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(printed)
    done = shell.run_callboard("queues", "pause", "emails", "--force", DATABASE_URL=as_role(owned_url))
    assert done.returncode == 0, done.stderr
    assert shell.run_callboard("db", "grants").returncode == 2
    assert shell.run_callboard("db", "grants", "--read", "a\nb").returncode == 2
