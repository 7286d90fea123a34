"""The limits of rows: what the migration makes of rows from before them, and what Python's senders are told."""

from __future__ import annotations

import contextlib
import importlib

import psycopg2
import pytest
from dramatiq import Message

from callboard.broker.sending.row import OutgoingRow
from callboard.db import schema
from callboard.db.rows.row_limits import LEVELS_MAX, NAME_BYTES_MAX, is_too_deep
from callboard.errors import InvalidMessage

BEFORE = importlib.import_module("callboard.db.migrations.versions.0010_row_limits").down_revision
OURS = """
    SELECT conrelid::regclass::text, conname FROM pg_constraint
    WHERE contype = 'c' AND conname ~ '(_between_|_bytes$|_characters$|_to_count$|_finite$|_number$|_list$|_objects?$)'
"""


@pytest.fixture
def db(database_url):
    with contextlib.closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True

        def query(statement, *parameters):
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []

        yield query


@pytest.fixture
def before(db):
    """Take the limits away again, as if the migration had not run."""
    for table, name in db(OURS):
        db(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    db("UPDATE callboard.schema_version SET version_num = %s", BEFORE)


def test_rows_from_before_the_limits_are_brought_within_them(database_url, db, before):
    # Given rows that break every limit of the queue, some of them several at once
    row = "INSERT INTO dramatiq.queue (message_id, message, {}) VALUES (gen_random_uuid(), '{{}}', %s)"
    for column, value in [
        ("attempt", 2**31 - 1),
        ("retries", -(2**31)),
        ("lost_workers", 2**31 - 1),
        ("available_at", "-infinity"),
        ("enqueued_at", "infinity"),
        ("claimed_at", "294276-12-31"),
        ("mtime", "4713-01-01 BC"),
        ("wait_reason", "x" * 200_000),
    ]:
        db(row.format(column), value)
    db(
        "INSERT INTO dramatiq.queue (message_id, queue_name, message, attempt, available_at, dedupe_key) "
        "VALUES (gen_random_uuid(), repeat('q', 300), '{}', -5, 'infinity', repeat('k', 300)), "
        "(gen_random_uuid(), repeat('q', 299), '{}', -5, 'infinity', repeat('k', 300)), "
        "(gen_random_uuid(), '', '{\"actor_name\": \"job\"}', 0, now(), '')"
    )
    db(
        "INSERT INTO dramatiq.queue (message_id, queue_name, message) "
        "VALUES (gen_random_uuid(), 'jobs', jsonb_build_object('actor_name', repeat('a', 300)))"
    )
    # And others beside it
    db(
        "INSERT INTO callboard.message_history (message_id, outcome, queue_name, actor_name, message, priority, "
        "attempt, retries, lost_workers, generation, enqueued_at, available_at, ended_at) "
        "VALUES (gen_random_uuid(), 'done', "
        "repeat('q', 300), 'a', '{}', 0, 1, 0, 0, 0, '-infinity', 'infinity', '-infinity')"
    )
    db(
        "INSERT INTO callboard.workers (worker_id, hostname, pid, queues, threads, version, beat_at, suspected_at) "
        "VALUES (gen_random_uuid(), 'h', 1, '{NULL,jobs}', 1, '0', 'infinity', '-infinity')"
    )
    db("INSERT INTO callboard.throughput (minute_at, queue_name, actor_name, run_s) VALUES (now(), 'q', 'a', 'NaN')")
    db("INSERT INTO callboard.audit_log (operator, via, action, count, filter) VALUES ('o', 'cli', 'a', 1, '\"all\"')")
    # When the database is upgraded
    assert schema.upgrade(database_url) == schema.REVISION
    # Then every limit holds for every row, and no message is gone
    assert db("SELECT conname FROM pg_constraint WHERE NOT convalidated") == []
    assert db("SELECT count(*) FROM dramatiq.queue") == [(11,)]
    assert db("SELECT reason, length(actor_name) FROM callboard.dead_letters") == [("invalid", 73)]
    assert db("SELECT filter FROM callboard.audit_log") == [({"value": "all"},)]


def nested(levels: int) -> list:
    value: list = []
    for _ in range(levels - 1):
        value = [value]
    return value


def sent(**changes) -> OutgoingRow:
    parts = {"queue_name": "jobs", "actor_name": "job", "args": (), "kwargs": {}, "options": {}, **changes}
    return OutgoingRow.of(Message(**parts), delay_ms=None, default_priority=0)


@pytest.mark.parametrize("levels", [LEVELS_MAX, 500, 3_000, 100_000])
@pytest.mark.parametrize("part", ["args", "kwargs", "options"])
def test_a_sender_is_told_when_a_message_nests_too_deep(part, levels):
    # The message itself is the first level.
    value = nested(levels)
    with pytest.raises(InvalidMessage, match=f"nests deeper than {LEVELS_MAX} levels"):
        sent(**{part: tuple(value) if part == "args" else {"a": value}})


@pytest.mark.parametrize("part", ["args", "kwargs"])
def test_the_function_in_sql_has_the_limits_of_the_other_senders(db, part):
    call = "SELECT callboard.enqueue('job', queue => 'jobs', {} => %s::jsonb)"
    wrap = ("[", "]") if part == "args" else ('{"a": [', "]}")
    levels = LEVELS_MAX - (1 if part == "args" else 2)
    db(call.format(part), wrap[0] + "[" * (levels - 1) + "]" * (levels - 1) + wrap[1])
    with pytest.raises(psycopg2.Error, match="nests deeper than 100 levels"):
        db(call.format(part), wrap[0] + "[" * levels + "]" * levels + wrap[1])
    with pytest.raises(psycopg2.Error, match="has 300 bytes, the limit is 255"):
        db("SELECT callboard.enqueue(repeat('a', 300), queue => 'jobs')")
    with pytest.raises(psycopg2.Error, match="has 300 bytes, the limit is 255"):
        db("SELECT callboard.enqueue('a', queue => repeat('q', 300))")


def test_a_message_of_as_many_levels_as_may_be_is_stored():
    sent(args=tuple(nested(LEVELS_MAX - 1)))
    sent(args=tuple([[] for _ in range(1000)]))


def test_depth_is_told_without_following_a_value_into_itself():
    loop: list = []
    loop += [loop, loop]
    assert is_too_deep(loop)
    assert not is_too_deep({"a": [{}, [], ()]})


@pytest.mark.parametrize("name", ["queue_name", "actor_name"])
@pytest.mark.parametrize("text", ["x" * (NAME_BYTES_MAX + 1), "я" * 128])
def test_a_sender_is_told_when_a_name_is_too_long(name, text):
    with pytest.raises(InvalidMessage, match=f"has a {name} of {len(text)} characters. Give at most 255 bytes"):
        sent(**{name: text})


#: What the limits of one table may take as Postgres keeps them, characters.
LIMIT_TEXT_MAX = 11_000
OUTSIDE = ("-infinity", "1899-12-31 23:59:59.999999+00", "9000-01-01 00:00:00+00", "infinity")
QUEUE_MOMENTS = ("mtime", "result_ttl", "available_at", "enqueued_at", "claimed_at", "cancel_asked_at")


COUNTERS = ("attempt", "retries", "lost_workers", "generation")


@pytest.mark.parametrize(
    ("column", "inside", "outside"),
    [
        *((column, ("1900-01-01 00:00:00+00", "8999-12-31 23:59:59.999999+00"), OUTSIDE) for column in QUEUE_MOMENTS),
        *((column, (0, 10**9), (-1, -(2**31), 10**9 + 1)) for column in COUNTERS),
        ("queue_name", ("q", "q" * 255), ("", "q" * 256, "ж" * 128)),
        ("dedupe_key", ("k", "ж" * 255), ("", "k" * 256)),
    ],
)
def test_each_column_of_the_queue_has_both_its_bounds(column, inside, outside, db):
    row = f"INSERT INTO dramatiq.queue (message_id, message, {column}) VALUES (gen_random_uuid(), '{{}}', %s)"
    for value in inside:
        db(row, value)
    for value in outside:
        with pytest.raises(psycopg2.errors.CheckViolation):
            db(row, value)


@pytest.mark.parametrize("column", ["enqueued_at", "available_at", "started_at", "ended_at"])
def test_each_moment_of_the_history_has_both_its_bounds(column, db):
    db(
        "INSERT INTO callboard.message_history (message_id, outcome, queue_name, message, priority, attempt, retries, "
        "lost_workers, generation, enqueued_at, available_at) "
        "VALUES (gen_random_uuid(), 'done', 'q', '{}', 0, 1, 0, 0, 0, now(), now())"
    )
    for value in OUTSIDE:
        with pytest.raises(psycopg2.errors.CheckViolation):
            db(f"UPDATE callboard.message_history SET {column} = %s", value)


def test_the_limits_of_what_every_message_is_written_into_are_short(db):
    # Postgres reads this text anew with each statement; with one bound after the other it was half as long again.
    sizes = db(
        "SELECT sum(length(conbin::text)) FROM pg_constraint WHERE contype = 'c' AND conrelid = ANY (%s::regclass[]) "
        "GROUP BY conrelid",
        ["dramatiq.queue", "callboard.message_history"],
    )
    assert max(size for (size,) in sizes) <= LIMIT_TEXT_MAX
