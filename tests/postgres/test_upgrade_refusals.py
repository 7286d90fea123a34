"""`callboard db upgrade` on databases that others own: what it needs, and one sentence wherever Postgres refuses."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest

from callboard.db import schema
from callboard.dev.postgres import Server
from callboard.dev.temporary_postgres import temporary_server
from callboard.errors import CallboardError, DatabaseUnfit, UpgradeRefused

SCHEMAS = "CREATE SCHEMA callboard AUTHORIZATION {role}; CREATE SCHEMA dramatiq AUTHORIZATION {role};"
_numbers = itertools.count()


class Owned:
    """A database of an administrator, and a role of ours in it."""

    def __init__(self, server: Server, encoding: str = "UTF8") -> None:
        self.role = f"app_{next(_numbers)}"
        self.name = f"owned_{self.role}"
        self.admin_url = server.recreate_database(self.name)
        if encoding != "UTF8":
            self._on_server(server, f'DROP DATABASE "{self.name}"')
            self._on_server(
                server, f"CREATE DATABASE \"{self.name}\" ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
            )
        self.say(f"DROP ROLE IF EXISTS {self.role}; CREATE ROLE {self.role} LOGIN")
        self.url = self.admin_url.replace("postgres@", f"{quote(self.role)}@", 1)

    @staticmethod
    def _on_server(server: Server, statement: str) -> None:
        with contextlib.closing(psycopg2.connect(server.url())) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    def say(self, statements: str) -> Any:
        """Say something as the administrator; return the first row."""
        with contextlib.closing(psycopg2.connect(self.admin_url)) as connection, connection, connection.cursor() as c:
            c.execute(statements.format(role=self.role, database=self.name))
            return c.fetchone() if c.description else None


@pytest.fixture
def owned(embedded_server: Server) -> Iterator[Owned]:
    """Schemas that our role owns in a database where it may create no others."""
    made = Owned(embedded_server)
    made.say(SCHEMAS)
    yield made
    made.say("REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")


def refused(act: Callable[[], Any]) -> str:
    with pytest.raises(UpgradeRefused) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text and ". " not in text, f"more than one sentence: {text}"
    return text


@pytest.mark.parametrize("kind", ["embedded", "system"])
def test_the_owner_of_both_schemas_installs_and_upgrades(kind, request, embedded_server):
    server = embedded_server if kind == "embedded" else request.getfixturevalue("system_server")
    if server is None:
        pytest.skip("no Postgres of the system is installed; the embedded one ran this test")
    owned = Owned(server)
    owned.say(SCHEMAS)
    assert owned.say("SELECT has_database_privilege('{role}', '{database}', 'CREATE')") == (False,)
    assert schema.upgrade(owned.url) == schema.REVISION
    assert schema.upgrade(owned.url) == schema.REVISION


def test_the_printed_sql_asks_for_no_more_than_upgrade_does(owned):
    with contextlib.closing(psycopg2.connect(owned.url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(schema.upgrade_sql())
    assert schema.upgrade(owned.url) == schema.REVISION


def test_an_upgrade_with_nothing_to_do_takes_no_transaction_id(owned):
    schema.upgrade(owned.url)
    before = owned.say("SELECT pg_snapshot_xmax(pg_current_snapshot())")
    assert schema.upgrade(owned.url) == schema.REVISION
    assert owned.say("SELECT pg_snapshot_xmax(pg_current_snapshot())") == before
    owned.say("ALTER ROLE {role} SET default_transaction_read_only = on")
    assert schema.upgrade(owned.url) == schema.REVISION


def test_a_database_that_is_newer_is_left_alone(owned):
    schema.upgrade(owned.url)
    owned.say("UPDATE callboard.schema_version SET version_num = '9001'")
    assert schema.upgrade(owned.url) == "9001"


def test_a_standby_that_has_all_revisions_needs_nothing_and_one_that_lacks_some_says_what_it_is(tmp_path):
    with temporary_server() as server:
        schema.upgrade(server.ensure_database("ready"))
        empty_url = server.ensure_database("empty")
        server.stop()
        (server.data_dir / "standby.signal").touch()
        server.start()
        assert schema.upgrade(server.url("ready")) == schema.REVISION
        assert "replica" in refused(lambda: schema.upgrade(empty_url))


#: What a migration uses, how it is taken away, and what the sentence must name.
TAKEN = {
    "no schema, and none may be made": (
        "DROP SCHEMA callboard, dramatiq",
        "CREATE SCHEMA callboard",
        "GRANT CREATE ON DATABASE {database} TO {role}",
    ),
    "one schema missing": (
        "DROP SCHEMA dramatiq",
        "CREATE SCHEMA dramatiq",
        "GRANT CREATE ON DATABASE {database} TO {role}",
    ),
    "usage of a schema": (
        (
            "ALTER SCHEMA callboard OWNER TO postgres; REVOKE ALL ON SCHEMA callboard FROM PUBLIC, {role};"
            "GRANT CREATE ON SCHEMA callboard TO {role}"
        ),
        "",
        "GRANT USAGE ON SCHEMA callboard TO {role}",
    ),
    "create in a schema": (
        (
            "ALTER SCHEMA callboard OWNER TO postgres; REVOKE ALL ON SCHEMA callboard FROM {role};"
            "GRANT USAGE ON SCHEMA callboard TO {role}"
        ),
        "CREATE TABLE callboard.",
        "GRANT CREATE ON SCHEMA callboard TO {role}",
    ),
    "create in the other schema": (
        (
            "ALTER SCHEMA dramatiq OWNER TO postgres; REVOKE ALL ON SCHEMA dramatiq FROM {role};"
            "GRANT USAGE ON SCHEMA dramatiq TO {role}"
        ),
        "CREATE TYPE dramatiq.state",
        "GRANT CREATE ON SCHEMA dramatiq TO {role}",
    ),
    "ownership of dramatiq-pg's type": (
        "CREATE TYPE dramatiq.state AS ENUM ('queued', 'consumed', 'rejected', 'done')",
        "ALTER TYPE dramatiq.state RENAME VALUE",
        "ALTER TYPE dramatiq.state OWNER TO {role}",
    ),
    "ownership of dramatiq-pg's table": (
        (
            "CREATE TYPE dramatiq.state AS ENUM ('queued', 'consumed', 'rejected', 'done');"
            "ALTER TYPE dramatiq.state OWNER TO {role};"
            "CREATE TABLE dramatiq.queue (message_id uuid PRIMARY KEY, queue_name text NOT NULL, state dramatiq.state,"
            " mtime timestamptz, message jsonb, result jsonb, result_ttl timestamptz)"
        ),
        "ALTER TABLE dramatiq.queue",
        "ALTER TABLE dramatiq.queue OWNER TO {role}",
    ),
    "usage of plpgsql": (
        "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
        "DO $$",
        "GRANT USAGE ON LANGUAGE plpgsql TO {role}",
    ),
    "a table of that name": ("CREATE TABLE callboard.payments (id int)", "CREATE TABLE callboard.payments", "rename"),
    "a view of that name": (
        "CREATE VIEW callboard.workers AS SELECT 1 AS a",
        "CREATE TABLE callboard.workers",
        "rename",
    ),
    "a type of that name": (
        "CREATE TYPE dramatiq.state AS ENUM ('on', 'off'); ALTER TYPE dramatiq.state OWNER TO {role}",
        "ALTER TYPE dramatiq.state RENAME VALUE",
        "rename",
    ),
    "a type that is no enum": (
        "CREATE DOMAIN dramatiq.state AS text; ALTER DOMAIN dramatiq.state OWNER TO {role}",
        "ALTER TYPE dramatiq.state RENAME VALUE",
        "rename",
    ),
    "another table queue": (
        "CREATE TABLE dramatiq.queue (id int); ALTER TABLE dramatiq.queue OWNER TO {role}",
        "ALTER TABLE dramatiq.queue",
        "rename",
    ),
    "another table of versions": (
        "CREATE TABLE callboard.schema_version (id int); ALTER TABLE callboard.schema_version OWNER TO {role}",
        "",
        "rename",
    ),
    "a version that is none": (
        (
            "CREATE TABLE callboard.schema_version (version_num text PRIMARY KEY);"
            "INSERT INTO callboard.schema_version VALUES ('mine');"
            "ALTER TABLE callboard.schema_version OWNER TO {role}"
        ),
        "mine",
        "callboard.schema_version",
    ),
    "writing at all": (
        "ALTER ROLE {role} SET default_transaction_read_only = on",
        "CREATE SCHEMA callboard|CREATE TABLE callboard.",
        "default_transaction_read_only",
    ),
}


@pytest.mark.parametrize("what", TAKEN)
def test_whatever_an_upgrade_lacks_is_said_in_one_sentence_with_the_statement_and_what_helps(what, owned):
    taken, statement, helps = TAKEN[what]
    owned.say(taken)
    try:
        said = refused(lambda: schema.upgrade(owned.url))
    finally:
        owned.say("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC")
    assert any(part in said for part in statement.split("|")), said
    assert helps.format(role=owned.role, database=owned.name) in said


STOCK = """
CREATE TYPE dramatiq.state AS ENUM ('queued', 'consumed', 'rejected', 'done');
CREATE TABLE dramatiq.queue (message_id uuid PRIMARY KEY, queue_name text NOT NULL, state dramatiq.state,
    mtime timestamptz, message jsonb, result jsonb, result_ttl timestamptz);
ALTER TYPE dramatiq.state OWNER TO {role};
ALTER TABLE dramatiq.queue OWNER TO {role};
"""


@pytest.mark.parametrize("privilege", ["SELECT", "UPDATE", "DELETE"])
def test_rights_that_an_owner_lost_on_his_own_table_are_named(privilege, owned):
    owned.say(f"{STOCK} REVOKE {privilege} ON dramatiq.queue FROM {{role}}")
    said = refused(lambda: schema.upgrade(owned.url))
    assert f"GRANT {privilege} ON dramatiq.queue TO {owned.role}" in said


def test_the_right_that_postgres_named_comes_first_of_many(owned):
    schema.upgrade(owned.url)
    owned.say("UPDATE callboard.schema_version SET version_num = '0000'")
    owned.say("REVOKE SELECT ON ALL TABLES IN SCHEMA callboard FROM {role}")
    said = refused(lambda: schema.upgrade(owned.url))
    assert f"role {owned.role} lacks SELECT on table callboard.schema_version, " in said


def test_a_lock_that_does_not_come_free_is_said_with_who_holds_it(owned):
    owned.say(STOCK)
    holder = psycopg2.connect(owned.url, application_name="the stock worker")
    with contextlib.closing(holder), holder.cursor() as cursor:
        cursor.execute("SELECT * FROM dramatiq.queue")
        pid = holder.info.backend_pid
        said = refused(lambda: schema.upgrade(owned.url))
    assert "ALTER TABLE dramatiq.queue" in said and "the stock worker" in said
    assert f"pg_terminate_backend({pid})" in said


def test_a_session_that_ends_on_the_way_is_one_sentence(owned):
    owned.say("ALTER ROLE {role} SET idle_session_timeout = '1ms'")
    with pytest.raises(CallboardError) as caught:
        schema.upgrade(owned.url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["no_such_database", "no_such_role"])
def test_no_such_database_or_role_is_one_sentence(place, embedded_server):
    url = (
        embedded_server.url(place)
        if place == "no_such_database"
        else embedded_server.url().replace("postgres@", f"{place}@")
    )
    with pytest.raises(CallboardError) as caught:
        schema.upgrade(url)
    assert place in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP", "WIN1251"])
def test_a_database_that_is_not_utf8_is_refused_by_upgrade_and_check(encoding, embedded_server):
    owned = Owned(embedded_server, encoding)
    with pytest.raises(DatabaseUnfit, match=rf"{encoding}.*ENCODING 'UTF8'"):
        schema.upgrade(owned.admin_url)
    with (
        contextlib.closing(psycopg2.connect(owned.admin_url)) as connection,
        pytest.raises(DatabaseUnfit, match=encoding) as caught,
    ):
        schema.check_revision(connection)
    assert "\n" not in str(caught.value)


def test_a_script_is_cut_only_where_a_statement_ends():
    from callboard.db.migrations.plain_sql import statements_of

    script = "-- a; b\nSELECT 'x;y', $$a;b$$, \"c;d\";\nDO $body$ BEGIN; '; END $body$;\n-- the end;\n"
    cut = list(statements_of(script))
    assert [re.sub(r"--.*\n", "", part)[:6] for part in cut] == ["SELECT", "DO $bo"]
