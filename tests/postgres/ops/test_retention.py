"""What upkeep deletes, what it keeps, and how it behaves beside others."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from functools import partial

import psycopg2
import pytest

from callboard.db import Pool, connect, sql
from callboard.ops.upkeep import retention
from callboard.ops.upkeep.retention import Days, purge_expired
from callboard.reports import StorageUnavailable, remove_files, store
from tests.postgres.broker.fake_workers import Workers, opened
from tests.postgres.ops.rows import Rows, days_ago

DAYS = Days(history=30, dead_letters=90, emails=60, reports=45, payment_events=365, idempotency_keys=7)


@pytest.fixture
def db(each_database_url):
    with opened(each_database_url) as query:
        yield query


@pytest.fixture
def pool(each_database_url):
    pool = Pool(each_database_url)
    yield pool
    pool.close()


@pytest.fixture
def purge(pool):
    return lambda **options: purge_expired(pool, DAYS, **{"remove_files": lambda _id: None, "time_s": 60, **options})


@pytest.fixture
def rows(db):
    return Rows(db)


def test_history_goes_when_its_time_is_over_and_not_a_day_before(rows, purge):
    rows.history(30.01)
    kept = rows.history(29.99)
    assert purge().counts["message_history"] == 1
    assert rows.ids("message_history") == {kept}


def test_attempts_go_with_what_has_ended_and_stay_with_what_has_not(rows, db, purge):
    # Given attempts on both sides of the line, of messages that ended, wait, run or are dead
    rows.attempt(30.01)
    kept = {rows.attempt(29.99)}
    kept.add(rows.attempt(31, rows.queued()))
    kept.add(rows.attempt(31, rows.dead(31)))
    running = rows.queued(state="running", lease_id=1, worker_id=str(uuid.uuid4()))
    kept.add(rows.attempt(31, running))
    # When they are purged
    purged = purge()
    # Then only the one that ended long ago has gone
    assert purged.counts["attempts"] == 1 and purged.is_finished
    assert rows.ids("attempts") == kept


def test_a_dead_letter_goes_with_its_attempts_when_its_own_time_is_over(rows, purge):
    gone = rows.dead(90.01)
    for number in range(3):
        rows.attempt(90.5, gone, attempt=number)
    kept = rows.dead(89.99)
    rows.attempt(89.99, kept)
    assert purge().counts["dead_letters"] == 1
    assert rows.ids("dead_letters") == rows.ids("attempts") == {kept}


def test_attempts_of_a_dead_letter_that_was_sent_again_stay(rows, purge):
    sent_again = rows.dead(91, rows.queued())
    rows.attempt(91, sent_again)
    purge()
    assert rows.ids("dead_letters") == set()
    assert rows.ids("attempts") == {sent_again}


def test_workers_minutes_and_schedules_that_nobody_declares_go_too(rows, db, purge):
    living = Workers(db).register()
    process = {"hostname": "host", "pid": 1, "queues": ["jobs"], "threads": 1, "version": "0"}
    for worker_id, started, ended in ((living, 31, None), (str(uuid.uuid4()), 31, None), (str(uuid.uuid4()), 40, 29)):
        moments = {"started_at": days_ago(started), "ended_at": days_ago(ended) if ended else None}
        rows.insert("callboard.worker_history", worker_id=worker_id, **process, **moments)
    for days in (29, 31):
        rows.insert("callboard.throughput", minute_at=days_ago(days), queue_name="jobs", actor_name="job")
    db("DELETE FROM callboard.schedules")
    what = {"actor_name": "job", "queue_name": "jobs", "cron": "0 6 * * *", "timezone": "UTC", "catch_up": "latest"}
    for name, days in (("gone", 31), ("declared", 31), ("young", 29)):
        moments = {"next_at": days_ago(0), "declared_at": days_ago(days)}
        rows.insert("callboard.schedules", schedule_name=name, **what, **moments)
    db("INSERT INTO callboard.schedule_declarations VALUES ('declared', %s)", living)
    counts = purge().counts
    assert (counts["worker_history"], counts["throughput"], counts["schedules"]) == (1, 1, 1)
    assert db("SELECT count(*) FROM callboard.worker_history WHERE worker_id = %s", living) == [(1,)]
    assert db("SELECT schedule_name FROM callboard.schedules ORDER BY 1") == [("declared",), ("young",)]


def test_the_audit_log_is_kept_for_good(db, purge):
    db(
        "INSERT INTO callboard.audit_log (changed_at, operator, via, action, count) "
        "VALUES ('2020-01-01', 'ann@host', 'cli', 'dead retry', 1)"
    )
    purge()
    assert db("SELECT count(*) FROM callboard.audit_log") == [(1,)]


def test_a_place_that_was_filled_again_meanwhile_is_left_alone(rows, db, pool):
    # Given old history that was found, then deleted and vacuumed away, and a new row in its place
    rows.history(31)
    with pool.cursor() as cursor:
        cursor.execute(sql("retention/find_message_history"), {"days": 30, "limit": 10})
        places = cursor.fetchone()[0]
    db("DELETE FROM callboard.message_history")
    db("VACUUM callboard.message_history")
    young = rows.history(0)
    assert db("SELECT ctid::text FROM callboard.message_history") == [(places[0],)]
    # When what was found is deleted
    db(sql("retention/purge_message_history"), days=30, places=places)
    # Then the young row stays
    assert rows.ids("message_history") == {young}


def test_it_deletes_in_batches_and_goes_on_where_its_time_was_up(rows, purge, monkeypatch):
    # Given more than a batch of each kind
    monkeypatch.setattr(retention, "BATCH_MAX", 10)
    for _ in range(25):
        rows.history(31)
        rows.dead(91)
        rows.attempt(31)
    # When its time is up after some batches
    ticks = itertools.count()
    purged = purge(time_s=5, clock=lambda: next(ticks))
    # Then those are gone for good, and it says that more is left
    assert not purged.is_finished
    assert 0 < sum(purged.counts.values()) < 75
    assert len(rows.ids("message_history") | rows.ids("dead_letters") | rows.ids("attempts")) < 75
    # When it is called again
    assert purge().is_finished
    # Then nothing is left
    assert not (rows.ids("message_history") | rows.ids("dead_letters") | rows.ids("attempts"))


def test_more_than_one_look_finds_are_all_deleted(rows, purge, monkeypatch):
    monkeypatch.setattr(retention, "FOUND_MAX", 7)
    for _ in range(21):
        rows.history(31)
    assert purge().counts["message_history"] == 21


def test_a_batch_that_takes_too_long_is_made_smaller_and_a_stuck_table_stops_no_other(
    rows, purge, each_database_url, monkeypatch
):
    # Given a row of history that somebody keeps locked
    monkeypatch.setattr(retention, "BATCH_MAX", 400)
    tried = []
    monkeypatch.setattr(retention, "sql", lambda name: (tried.append(name), sql(name))[1])
    rows.history(31)
    rows.dead(91)
    rows.attempt(31)
    with contextlib.closing(connect(each_database_url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM callboard.message_history FOR UPDATE")
        purged = purge()
    # Then it was tried with 400 and 100 rows, and the other tables are done
    assert tried.count("retention/purge_message_history") == 2
    assert not purged.is_finished
    assert (purged.counts["dead_letters"], purged.counts["attempts"]) == (1, 1)
    assert purge().counts["message_history"] == 1


def test_a_dead_letter_that_an_operator_works_on_is_left_for_the_next_time(rows, purge, each_database_url):
    taken, free = rows.dead(91), rows.dead(92)
    with contextlib.closing(psycopg2.connect(each_database_url)) as operator, operator.cursor() as cursor:
        cursor.execute(sql("dead_letters/retry"), {"message_ids": [taken], "generations": [0]})
        purged = purge()
        operator.commit()
    assert purged.counts["dead_letters"] == 1 and purged.is_finished
    assert free not in rows.ids("dead_letters") and taken not in rows.ids("dead_letters")


def test_a_batch_that_is_still_open_keeps_no_worker_from_claiming(rows, db, each_database_url):
    for _ in range(100):
        rows.history(31)
        rows.attempt(31)
        rows.dead(91)
    message_id = rows.queued()
    db('UPDATE dramatiq.queue SET message = \'{"actor_name": "job"}\'')
    workers = Workers(db)
    with contextlib.closing(connect(each_database_url)) as other, other.cursor() as cursor:
        cursor.execute(sql("retention/purge_dead_letters"), {"days": 90, "limit": 1000})
        for table in ("message_history", "attempts"):
            cursor.execute(sql(f"retention/find_{table}"), {"days": 30, "limit": 1000})
            places = cursor.fetchone()[0]
            cursor.execute(sql(f"retention/purge_{table}"), {"days": 30, "places": places})
            assert cursor.fetchone() == (100,)
        db("SET lock_timeout = '100ms'")
        (claimed,) = workers.claimed(workers.register())
        assert str(claimed[0]) == message_id


def test_a_mail_goes_when_its_time_is_over_unless_its_message_may_still_run(rows, db, purge):
    gone = rows.email(60.01)
    kept = {rows.email(59.99), rows.email(61, rows.queued()), rows.email(61, rows.dead(61), state="refused")}
    assert purge().counts["emails"] == 1
    assert rows.ids("emails") == kept
    assert gone not in kept


def test_an_answer_that_is_being_written_is_kept(rows, db, purge):
    payment_id = rows.payment(8)
    rows.idempotency_key("answered", 7.01, payment_id)
    rows.idempotency_key("young", 6.99, payment_id)
    rows.idempotency_key("locked", 8, payment_id, locked_until=days_ago(-1))
    assert purge().counts["idempotency_keys"] == 1
    assert db("SELECT key FROM callboard.idempotency_keys ORDER BY 1") == [("locked",), ("young",)]
    assert db("SELECT count(*) FROM callboard.payments") == [(1,)]


def test_a_report_goes_with_all_files_in_its_folder_and_no_others(rows, purge, tmp_path):
    # Given an old report, with the files of two attempts, a young one, and a file that is not ours
    old, young = rows.report(45.01), rows.report(44.99)
    url = f"file://{tmp_path}"
    for path in (f"{old}/register-1.pdf", f"{old}/register-2.pdf", f"{young}/register-1.pdf", "other.txt"):
        store(url, path, b"content")
    # When it is purged
    purged = purge(remove_files=partial(remove_files, url))
    # Then it is gone with both files
    assert purged.counts["reports"] == 1 and purged.is_finished
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()) == [
        f"{young}/register-1.pdf",
        "other.txt",
    ]


def test_reports_of_a_message_that_may_still_run_are_kept(rows, db, purge):
    kept = {rows.report(46, rows.queued()), rows.report(46, rows.dead(46), state="failed")}
    purge()
    assert {row[0] for row in db("SELECT report_id::text FROM callboard.reports")} == kept


def test_while_the_storage_refuses_reports_stay_and_all_else_goes(rows, db, purge):
    # Given a storage that takes away one report's files and then fails
    rows.report(47)
    kept = rows.report(46)
    rows.history(31)
    refused = []

    def remove(report_id):
        if report_id == kept:
            refused.append(report_id)
            raise StorageUnavailable("The storage did not take the call.")

    # When purged
    purged = purge(remove_files=remove)
    # Then the row whose files are gone went too, the other one stays, and nothing else waited
    assert not purged.is_finished and refused == [kept]
    assert db("SELECT report_id::text FROM callboard.reports") == [(kept,)]
    assert purged.counts["message_history"] == 1
    # And the next time it goes
    assert purge().counts["reports"] == 1


def test_a_report_is_removed_again_when_the_process_died_between_files_and_row(rows, purge, tmp_path):
    report_id = rows.report(46)
    url = f"file://{tmp_path}"
    store(url, f"{report_id}/receipt.pdf", b"content")
    remove_files(url, report_id)
    assert purge(remove_files=partial(remove_files, url)).counts["reports"] == 1


def test_a_report_whose_files_stay_keeps_no_other_from_its_turn(rows, db, purge, tmp_path):
    # Given a folder that leads out of the storage, the oldest of all, and one that may not be looked into
    outside, storage = tmp_path / "elsewhere", tmp_path / "reports"
    outside.mkdir()
    storage.mkdir()
    linked, others = rows.report(50), [rows.report(46 + number / 10) for number in range(5)]
    (storage / linked).symlink_to(outside)
    (outside / "private.txt").write_text("not ours")
    url = f"file://{storage}"
    for report_id in others:
        store(url, f"{report_id}/receipt.pdf", b"content")
    # When purged, again and again
    for _ in range(2):
        purged = purge(remove_files=partial(remove_files, url))
        # Then it alone is left, its row with it, and somebody hears of it
        assert db("SELECT report_id::text FROM callboard.reports") == [(linked,)]
        assert linked in purged.refusals["reports"]
    assert (outside / "private.txt").exists()


def test_more_reports_than_one_look_finds_pass_those_that_stay(rows, db, purge, monkeypatch):
    monkeypatch.setattr(retention, "REPORTS_MAX", 3)
    reports = [rows.report(60 - number) for number in range(9)]

    def remove(report_id):
        if report_id in reports[:4]:
            raise StorageUnavailable("This one is held.")

    assert not purge(remove_files=remove).is_finished
    assert {row[0] for row in db("SELECT report_id::text FROM callboard.reports")} == set(reports[:4])


def test_a_storage_that_takes_nothing_away_is_not_asked_for_every_report(rows, purge):
    for _ in range(2 * retention.KEPT_MAX):
        rows.report(46)
    asked = []

    def remove(report_id):
        asked.append(report_id)
        raise StorageUnavailable("The storage did not take the call.")

    assert not purge(remove_files=remove).is_finished
    assert len(asked) == retention.KEPT_MAX
