"""What a statement relies on holds in its transaction, whoever lends the session."""

from __future__ import annotations

import io
from urllib.parse import quote

import psycopg2
import pytest
from psycopg2.extras import RealDictCursor

from callboard.broker.claiming.claimer import SESSION_SETTINGS
from callboard.db import Pool, connect
from callboard.db.connections import session
from callboard.errors import DatabaseUnavailable
from tests.poolers import pooled

EXPECTED = {
    "timezone": "UTC",
    "datestyle": "ISO, DMY",
    "array_nulls": "on",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "1min",
    "jit": "off",
    "transaction_isolation": "read committed",
    "client_encoding": "UTF8",
}
ASK = "SELECT " + ", ".join(f"current_setting('{name}')" for name in EXPECTED)


def seen(cursor, statement=ASK, parameters=None):
    cursor.execute(statement, parameters)
    return dict(zip(EXPECTED, cursor.fetchone(), strict=True))


@pytest.mark.parametrize("autocommit", [True, False])
def test_every_setting_holds_in_each_transaction(pooler, autocommit):
    connection = connect(pooler.url, autocommit=autocommit)
    for parameters in (None, {"name": "100 %"}):
        with connection.cursor() as cursor:
            assert seen(cursor, parameters=parameters) == EXPECTED
            # Also for the second statement of a transaction, and the first of the next
            assert seen(cursor) == EXPECTED
            connection.commit()
            assert seen(cursor, ASK.encode()) == EXPECTED
    connection.close()


def test_settings_hold_whatever_asks_first(pooler):
    connection = connect(pooler.url)
    with connection.cursor(name="named") as cursor:
        assert seen(cursor) == EXPECTED
    connection.rollback()
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone() == {"transaction_isolation": "read committed"}
    connection.rollback()
    with connection.cursor() as cursor:
        output = io.StringIO()
        cursor.copy_expert("COPY (SELECT current_setting('timezone')) TO STDOUT", output)
        assert output.getvalue() == "UTC\n"
        connection.rollback()
        cursor.callproc("current_setting", ["timezone"])
        assert cursor.fetchone() == ("UTC",)
        connection.rollback()
        cursor.executemany("SELECT set_config('jit', %s, true)", [["on"]])
        assert seen(cursor) == {**EXPECTED, "jit": "on"}
    connection.close()


def test_settings_cost_no_round_trip(pooler):
    connection = connect(pooler.url, autocommit=True)
    with connection.cursor() as cursor:
        before = pooler.queries()
        for _ in range(10):
            cursor.execute("SELECT 1")
        assert pooler.queries() - before == 10
    connection.close()


def test_what_one_client_sets_is_gone_for_the_next(pooler, db):
    # Given a client of ours that has set what a claim wants
    connection = connect(pooler.url, autocommit=True, settings=SESSION_SETTINGS)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('enable_seqscan')")
        assert cursor.fetchone() == ("off",)
    # Then another one, which may have the very session, sees none of it
    other = psycopg2.connect(pooler.url)
    with other.cursor() as cursor:
        cursor.execute("SELECT current_setting('enable_seqscan'), current_setting('default_transaction_isolation')")
        assert cursor.fetchone() == ("on", "repeatable read")
    other.close()
    connection.close()


@pytest.mark.parametrize("is_pooled", [True, False])
def test_options_of_the_url_keep_counting(database_url, is_pooled, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    wanted = quote(r"-clock_timeout=3s --jit=on -c application_name=my\ own", safe="")
    with pooled(database_url) as pooler:
        url = pooler.url if is_pooled else database_url
        connection = connect(f"{url}{'&' if '?' in url else '?'}options={wanted}")
        with connection.cursor() as cursor:
            own = seen(cursor)
            assert (own["lock_timeout"], own["jit"], own["timezone"]) == ("3s", "on", "UTC")
            # And none of them makes a letter unreadable
            assert own["client_encoding"] == "UTF8"
            cursor.execute("SELECT 'ы'")
            assert cursor.fetchone() == ("ы",)
        connection.close()


def test_words_that_are_no_settings_stay_options():
    settings, rest = session.split_options(r"-c a=b\ c reference=project -cd=e --f-g=1 -e endpoint=x")
    assert settings == {"a": "b c", "d": "e", "f_g": "1"}
    assert rest == ["reference=project", "-e", "endpoint=x"]


def test_a_session_that_is_ours_alone_is_told_once(database_url):
    connection = connect(database_url)
    assert connection.keeps_session
    assert type(connection.cursor()) is psycopg2.extensions.cursor
    connection.close()


def test_a_pooler_that_is_away_is_the_databases_absence(database_url):
    with pooled(database_url) as pooler:
        url = pooler.url
        connect(url).close()
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        connect(url)


def test_a_pool_lends_through_a_pooler(pooler):
    pool = Pool(pooler.url, size=2)
    with pool.statement() as cursor:
        assert seen(cursor) == EXPECTED
    with pool.cursor() as cursor:
        assert seen(cursor) == EXPECTED
    with pool.statement() as cursor:
        assert seen(cursor) == EXPECTED
    pool.close()
