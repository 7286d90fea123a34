"""Every row can be told from every other: keys for logical replication, and sequences that were set back."""

from __future__ import annotations

import contextlib
import uuid

import pytest

import actors.maintenance
from callboard.broker.liveness.heartbeat import Heartbeat
from callboard.db import Pool, connect, schema, sql
from callboard.dev.temporary_postgres import temporary_server
from callboard.errors import PermanentError
from callboard.ops import audit
from callboard.ops.health.doctor import examine_database
from callboard.ops.health.findings import State
from callboard.ops.upkeep import retention
from callboard.payments import inbox
from tests.conftest import SYSTEM_POSTGRES, wait_until
from tests.postgres.broker.fake_workers import opened
from tests.postgres.ops.rows import Rows

#: Every sequence of ours, with the test that says what becomes of it when it is set back; a new one needs a line here.
SEQUENCES = {
    "callboard.audit_log_audit_id_seq": "changes and announcements",
    "callboard.lease_id_seq": "a lease is told by its message, too",
    "callboard.payment_events_event_id_seq": "changes and announcements",
    "callboard.workers_lock_key_seq": "a lock key that is taken",
    "dramatiq.queue_seq_seq": "orders messages of one moment, and is no key",
}


DAYS = retention.Days(history=30, dead_letters=90, emails=90, reports=90, payment_events=90, idempotency_keys=90)


@pytest.fixture
def db(each_database_url):
    with opened(each_database_url) as query:
        yield query


def test_every_table_has_a_primary_key(db):
    assert (
        db("""
        SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relkind IN ('r', 'p') AND nspname IN ('callboard', 'dramatiq')
            AND NOT EXISTS (SELECT 1 FROM pg_index WHERE indrelid = pg_class.oid AND indisprimary)
    """)
        == []
    )


@pytest.fixture(params=["embedded", "system"])
def published_url(request):
    """A database that a publication of all tables covers, with the level of write-ahead log that this needs."""
    if request.param == "system" and not SYSTEM_POSTGRES:
        pytest.skip("no Postgres of the system is installed; the embedded one ran this test")
    with temporary_server(SYSTEM_POSTGRES[-1] if request.param == "system" else None, wal_level="logical") as server:
        url = server.ensure_database("published")
        schema.upgrade(url)
        with opened(url) as query:
            query("CREATE PUBLICATION everything FOR ALL TABLES")
            yield url


def fill_with_old_rows(query, days):
    rows = Rows(query)
    for _ in range(3):
        rows.history(days)
        rows.attempt(days, rows.dead(days))
        rows.attempt(days)
    query(
        "INSERT INTO callboard.throughput (minute_at, queue_name, actor_name)"
        f" VALUES (now() - {days} * '1 day'::interval, 'q', 'a')"
    )
    query(
        "INSERT INTO callboard.worker_history (worker_id, hostname, pid, queues, threads, version, started_at)"
        f" VALUES (gen_random_uuid(), 'h', 1, '{{}}', 1, '0', now() - {days} * '1 day'::interval)"
    )


def counts(query):
    tables = ("message_history", "attempts", "dead_letters", "throughput", "worker_history")
    return {table: query(f"SELECT count(*) FROM callboard.{table}")[0][0] for table in tables}


def test_what_is_old_is_deleted_although_all_tables_are_published(published_url):
    with opened(published_url) as query:
        fill_with_old_rows(query, 400)
        pool = Pool(published_url)
        purged = retention.purge_expired(pool, DAYS, remove_files=lambda _: None, time_s=60)
        pool.close()
        assert purged.is_finished and not purged.refusals
        assert set(counts(query).values()) == {0}


def test_rows_of_every_table_can_be_changed_and_deleted_although_all_tables_are_published(published_url):
    with opened(published_url) as query:
        tables = query(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_publication_tables WHERE schemaname IN"
            " ('callboard', 'dramatiq')"
        )
        assert len(tables) > 15
        for (table,) in tables:
            query(f"DELETE FROM {table}")  # Refused at once where a table has no identity, rows or none.


@pytest.fixture
def broken_history(each_database_url):
    """A database where one table of retention's refuses to lose a row, as an unpublishable one does."""
    with opened(each_database_url) as query:
        fill_with_old_rows(query, 400)
        query(
            "CREATE FUNCTION callboard.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
            " 'no replica identity' USING ERRCODE = '55000'; END $$"
        )
        query("CREATE TRIGGER refuse BEFORE DELETE ON callboard.dead_letters EXECUTE FUNCTION callboard.refuse()")
        yield query


def test_a_table_that_refuses_keeps_no_other_from_its_turn_and_is_reported(broken_history, each_database_url):
    pool = Pool(each_database_url)
    purged = retention.purge_expired(pool, DAYS, remove_files=lambda _: None, time_s=60)
    pool.close()
    assert list(purged.refusals) == ["dead_letters"] and "no replica identity" in purged.refusals["dead_letters"]
    assert not purged.is_finished
    left = counts(broken_history)
    assert left.pop("dead_letters") == 3 and left.pop("attempts") == 3 and set(left.values()) == {0}


def test_the_message_that_purges_becomes_a_dead_letter_which_names_the_table(
    broken_history, each_database_url, monkeypatch
):
    pool = Pool(each_database_url)
    monkeypatch.setattr(actors.maintenance, "get_pool", lambda: pool)
    with pytest.raises(PermanentError, match=r"dead_letters cannot be deleted.*no replica identity"):
        actors.maintenance.purge_expired.fn()
    pool.close()


def test_every_sequence_of_ours_is_known_here_and_to_the_doctor(db):
    names = [
        name
        for (name, *_) in db(
            "SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences "
            "WHERE schemaname IN ('callboard', 'dramatiq')"
        )
    ]
    walked = [row[0] for row in db(sql("health/sequences"))]
    assert sorted(names) == sorted(walked) == sorted(SEQUENCES)


def fill_sequences(query):
    """Give each sequence's column a value."""
    for _ in range(3):
        query("INSERT INTO callboard.payment_events (provider_object_id, event) VALUES (gen_random_uuid(), 'x')")
        query("INSERT INTO callboard.audit_log (operator, via, action, count) VALUES ('a', 'cli', 'b', 1)")
        query(
            "INSERT INTO callboard.workers (worker_id, hostname, pid, queues, threads, version) VALUES"
            " (gen_random_uuid(), 'host', 1, '{}', 1, '0')"
        )
    Rows(query).queued(
        state="running",
        lease_id=query("SELECT nextval('callboard.lease_id_seq')")[0][0] + 7,
        worker_id=str(uuid.uuid4()),
    )


def restart_sequences(query):
    for name in SEQUENCES:
        query(f"ALTER SEQUENCE {name} RESTART")


def test_the_doctor_names_every_sequence_that_was_set_back_and_what_puts_it_right(db, each_database_url):
    def found():
        findings = examine_database(each_database_url, pool_size=10, listens=False)
        return [finding for finding in findings if finding.name == "sequences"]

    # Given sequences as a restore or logical replication leaves them
    fill_sequences(db)
    restart_sequences(db)
    findings = found()
    # Then each is named
    assert {name for name in SEQUENCES if any(name in finding.text for finding in findings)} == set(SEQUENCES)
    assert sum(finding.state is State.FAILED for finding in findings) == 3
    # And what the doctor prints puts all right
    for finding in findings:
        db(finding.advice.partition(": ")[2])
    assert [finding.state for finding in found()] == [State.OK]


def test_changes_and_announcements_are_kept_although_their_sequences_were_set_back(db, each_database_url):
    fill_sequences(db)
    restart_sequences(db)
    pool = Pool(each_database_url)
    operator = audit.Operator("ann", "cli")
    for number in range(5):
        with pool.cursor() as cursor:
            audit.record(cursor, operator, "queues pause", filter={}, count=number)
            told = inbox.record_announcement(
                cursor, provider_object_id=f"p-{number}", event="payment.succeeded", received_from=None
            )
            again = inbox.record_announcement(
                cursor, provider_object_id=f"p-{number}", event="payment.succeeded", received_from=None
            )
            assert (again.event_id, again.times_received) == (told.event_id, 2)
    pool.close()
    assert db("SELECT count(*), count(DISTINCT audit_id) FROM callboard.audit_log") == [(8, 8)]
    assert db("SELECT count(*), count(DISTINCT event_id) FROM callboard.payment_events") == [(8, 8)]


@pytest.fixture
def liveness(each_database_url):
    """Start worker processes' liveness, as many as are asked for."""
    started = []

    def start():
        own = Heartbeat(
            lambda: each_database_url,
            str(uuid.uuid4()),
            queues=["jobs"],
            actors=[],
            threads=1,
            on_rescue=lambda *_: None,
            on_forgotten=lambda: None,
        )
        own.start()
        started.append(own)
        wait_until(lambda: own.may_claim, what="the worker's lock")
        return own

    yield start
    for own in started:
        own.stop()


def test_a_lock_key_that_is_taken_is_drawn_anew(db, liveness, caplog):
    # Given two workers that live
    first, second = liveness(), liveness()
    # When the sequence is set back, and a third one comes
    restart_sequences(db)
    third = liveness()
    # Then each has a lock of its own, and keeps it
    keys = db("SELECT lock_key FROM callboard.workers")
    assert len(keys) == len(set(keys)) == 3
    held = db(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database"
        " WHERE datname = current_database()) AND classid::bigint = (hashtext('callboard.worker')::bigint"
        " & 4294967295)"
    )
    assert held == [(3,)]
    assert all(own.may_claim for own in (first, second, third))
    # And it was no fault that the next try got around
    assert [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_a_lock_that_a_session_without_a_row_holds_is_left_to_it(db, liveness, each_database_url):
    with contextlib.closing(connect(each_database_url, autocommit=True)) as session, session.cursor() as cursor:
        [(last,)] = db("SELECT coalesce(max(last_value), 0) FROM callboard.workers_lock_key_seq")
        for key in range(last, last + 5):
            cursor.execute("SELECT pg_advisory_lock(hashtext('callboard.worker'), %s)", (key,))
        liveness()
        cursor.execute("SELECT 1")  # It was not taken for an older session of the new worker.
    assert db("SELECT lock_key FROM callboard.workers") == [(last + 5,)]


def test_workers_that_share_a_lock_get_one_each_at_the_upgrade(embedded_server):
    # Given a database of the revision before, with workers that share their lock, and a history
    url = embedded_server.recreate_database("shared_lock")
    from alembic import command

    with pytest.MonkeyPatch.context() as patch:
        upgrade = command.upgrade
        patch.setattr(command, "upgrade", lambda config, _revision, **options: upgrade(config, "0006", **options))
        schema.upgrade(url)
    with opened(url) as query:
        for key in (1, 1, 1, 9):
            query(
                "INSERT INTO callboard.workers (worker_id, lock_key, hostname, pid, queues, threads, version)"
                f" OVERRIDING SYSTEM VALUE VALUES (gen_random_uuid(), {key}, 'host', 1, '{{}}', 1, '0')"
            )
        history = {Rows(query).history(1) for _ in range(3)}
        # When it is upgraded
        schema.upgrade(url)
        # Then each has one of its own, and the history is as it was
        keys = query("SELECT lock_key FROM callboard.workers")
        assert len(set(keys)) == 4 and {(1,), (9,)} < set(keys)
        assert Rows(query).ids("message_history") == history
