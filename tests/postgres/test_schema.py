"""Migrations: what they make, what they keep, who they refuse."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest

from callboard.db import schema
from callboard.errors import SchemaOutdated


def test_the_revision_in_code_is_the_newest_migration():
    newest = max(path.name[:4] for path in Path(schema.MIGRATIONS_DIR, "versions").glob("*.sql"))
    assert newest == schema.REVISION


def test_each_migration_sets_a_lock_timeout():
    for path in Path(schema.MIGRATIONS_DIR, "versions").glob("*.sql"):
        assert "SET LOCAL lock_timeout" in path.read_text(), path.name


def test_upgrade_brings_an_empty_database_to_the_revision(each_database_url):
    with psycopg2.connect(each_database_url) as connection:
        assert schema.current_revision(connection) == schema.REVISION
    assert schema.upgrade(each_database_url) == schema.REVISION


def test_an_older_schema_is_refused_with_the_command_that_helps(embedded_server):
    url = embedded_server.recreate_database("empty")
    with psycopg2.connect(url) as connection, pytest.raises(SchemaOutdated, match="callboard db upgrade"):
        schema.check_revision(connection)


def test_the_printed_sql_makes_the_same_schema(embedded_server):
    url = embedded_server.recreate_database("from_sql")
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(schema.upgrade_sql())
        assert schema.current_revision(connection) == schema.REVISION
