"""Dead letters are put back, thrown away and deleted: each once, whoever else is at it, and written down."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import psycopg2
import pytest

from callboard.errors import Conflict, DatabaseUnavailable, InvalidRequest
from callboard.ops.dead_letters import changes as dead_changes
from callboard.ops.dead_letters.changes import discard_dead, purge_dead, retry_dead
from callboard.ops.dead_letters.filter import DeadFilter
from tests.postgres.ops.conftest import ANN, BOB, held_open

CHANGES = "SELECT operator, action, filter, count, reason, details FROM callboard.audit_log ORDER BY audit_id"


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(dead_changes, "BATCH_MAX", 2)


def test_a_letter_is_put_back_with_its_id_a_new_generation_and_full_retries(transactions, db, bury, each_database_url):
    id_ = bury(dedupe_key="A-17", priority=3, generation=1)
    with held_open(each_database_url, "LISTEN callboard") as ear:
        ear.connection.commit()
        changed = retry_dead(transactions, DeadFilter(ids=(id_,)), ANN)
        ear.execute("SELECT 1")
        assert ear.connection.notifies, "it was not rung for"
    assert (changed.message_ids, changed.held, changed.missing) == ((id_,), (), ())
    [(state, attempt, retries, lost, generation, key, priority, is_due, kept, message)] = db(
        "SELECT state, attempt, retries, lost_workers, generation, dedupe_key, priority, available_at <= now(), "
        "enqueued_at < now() - interval '1 hour', message FROM dramatiq.queue"
    )
    assert (state, attempt, retries, lost, generation) == ("queued", 0, 0, 0, 2)
    assert (key, priority, is_due, kept) == ("A-17", 3, True, True)
    # What the failures left in it is gone, and its age begins anew.
    assert message["options"] == {"kept": True} and message["message_timestamp"] > 1_700_000_000_000
    assert message["kwargs"] == {"to": "ann@example.org", "order": 1} and message["message_id"] == id_
    assert db("SELECT count(*) FROM callboard.dead_letters") == [(0,)]
    assert db(CHANGES) == [("ann@host", "dead retry", {"ids": [id_]}, 1, ANN.reason, {})]


def test_a_letter_that_holds_no_message_is_put_back_as_it_is(transactions, db, bury):
    for stored in ([1], "text", 5, None, {"options": [1]}, {"options": None}):
        bury(stored=stored)
    assert retry_dead(transactions, DeadFilter(queue="jobs"), ANN).count == 6
    assert sorted(str(row[0]) for row in db("SELECT message FROM dramatiq.queue")) == sorted(
        map(str, [[1], "text", 5, None, {"options": [1]}, {"options": None}])
    )


def test_a_change_goes_through_everything_in_batches_and_is_written_down_once(transactions, db, bury, small_batches):
    meant = {bury(queue_name="emails", ago=timedelta(minutes=number)) for number in range(1, 6)}
    other = bury()
    steps = []
    changed = retry_dead(transactions, DeadFilter(queue="emails"), ANN, progress=steps.append)
    assert set(changed.message_ids) == meant and steps == [2, 2, 1]
    assert db("SELECT message_id::text FROM callboard.dead_letters") == [(other,)]
    assert db(CHANGES) == [("ann@host", "dead retry", {"queue": "emails"}, 5, ANN.reason, {})]


def test_letters_return_in_the_order_of_sending(transactions, fate, bury):
    sent = [bury(ago=timedelta(minutes=minutes)) for minutes in (3, 2, 1)]
    retry_dead(transactions, DeadFilter(queue="jobs"), ANN)
    assert fate.queued() == sent


def test_a_letter_whose_key_another_message_holds_stays_dead_and_both_are_named(
    transactions, db, bury, enqueue, small_batches
):
    holder = enqueue(dedupe_key="A-17")
    enqueue(dedupe_key="A-18", queue_name="others")
    held = bury(dedupe_key="A-17", ago=timedelta(minutes=9))
    free = {bury(dedupe_key="A-18"), bury(), bury()}
    changed = retry_dead(transactions, DeadFilter(queue="jobs"), ANN)
    assert set(changed.message_ids) == free
    assert [(letter.message_id, letter.holder_id, letter.dedupe_key) for letter in changed.held] == [
        (held, holder, "A-17")
    ]
    assert f"{held} stays dead: message {holder} holds its dedupe_key 'A-17'" in str(changed.held[0])
    assert db("SELECT message_id::text, generation FROM callboard.dead_letters") == [(held, 0)]
    assert db(CHANGES)[0][3] == 3


def test_letters_that_are_held_keep_none_behind_them_from_returning(transactions, bury, enqueue, small_batches):
    enqueue(dedupe_key="A")
    held = {bury(dedupe_key="A", ago=timedelta(minutes=minutes)) for minutes in (5, 6, 7)}
    free = {bury(ago=timedelta(minutes=minutes)) for minutes in (1, 2)}
    steps = []

    def count(looked_at):
        steps.append(looked_at)
        assert len(steps) < 10, "it goes round in circles"

    changed = retry_dead(transactions, DeadFilter(queue="jobs"), ANN, progress=count)
    assert set(changed.message_ids) == free
    assert [len(changed.held), {letter.message_id for letter in changed.held}] == [3, held]


def test_of_two_letters_with_one_key_the_older_returns(transactions, db, bury):
    older, younger = bury(dedupe_key="A", ago=timedelta(minutes=2)), bury(dedupe_key="A")
    changed = retry_dead(transactions, DeadFilter(queue="jobs"), ANN)
    assert changed.message_ids == (older,)
    assert [(letter.message_id, letter.holder_id) for letter in changed.held] == [(younger, older)]


def test_a_message_that_was_sent_again_does_not_break_its_batch(transactions, db, bury, enqueue):
    again, other = bury(), bury()
    enqueue(message_id=again)
    changed = retry_dead(transactions, DeadFilter(queue="jobs"), ANN)
    assert changed.message_ids == (other,)
    assert f"{again} was sent again" in str(changed.held[0])
    assert db("SELECT count(*) FROM dramatiq.queue") == [(2,)]


def test_nothing_that_was_put_back_is_written_down_when_nothing_was(transactions, db, bury, enqueue):
    enqueue(dedupe_key="A")
    held, gone = bury(dedupe_key="A"), str(uuid.uuid4())
    changed = retry_dead(transactions, DeadFilter(ids=(held, gone)), ANN)
    assert (changed.count, changed.missing) == (0, (gone,))
    assert db(CHANGES) == []


def test_an_open_transaction_with_the_key_is_named_and_what_was_done_stays(
    transactions, db, bury, small_batches, each_database_url
):
    done = {bury(ago=timedelta(minutes=minutes)) for minutes in (8, 9)}
    bury(dedupe_key="A")
    statement = (
        "INSERT INTO dramatiq.queue (message_id, queue_name, message, dedupe_key) "
        "VALUES (gen_random_uuid(), 'jobs', '{}', 'A')"
    )
    with held_open(each_database_url, statement), pytest.raises(Conflict, match=r"still open.*2 were changed before"):
        retry_dead(transactions, DeadFilter(queue="jobs"), ANN)
    assert {row[0] for row in db("SELECT message_id::text FROM dramatiq.queue")} == done
    assert db(CHANGES)[0][3] == 2
    assert retry_dead(transactions, DeadFilter(queue="jobs"), ANN).count == 1


def test_a_database_that_goes_away_leaves_whole_batches_and_says_how_far_it_came(
    transactions, db, bury, small_batches, each_database_url
):
    for minutes in range(1, 6):
        bury(ago=timedelta(minutes=minutes))

    def lose(_count):
        db(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    # The connection is lost between a batch's look and its write: in the middle of the second one.
    original, calls = dead_changes.put_back, []

    def put_back(cursor, ids, generations):
        calls.append(ids)
        if len(calls) == 2:
            lose(0)
        return original(cursor, ids, generations)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dead_changes, "put_back", put_back)
        with pytest.raises(DatabaseUnavailable, match="2 were changed before that; give the command again"):
            retry_dead(transactions, DeadFilter(queue="jobs"), ANN)
    assert db("SELECT count(*) FROM dramatiq.queue") == [(2,)] and db(CHANGES)[0][3] == 2
    assert retry_dead(transactions, DeadFilter(queue="jobs"), ANN).count == 3


def test_what_dies_again_while_a_retry_runs_is_not_put_back_twice(transactions, db, bury, fate, small_batches):
    ids = [bury(ago=timedelta(minutes=minutes)) for minutes in (5, 4, 3)]

    def die_again(_count):
        for id_ in fate.queued():
            fate.fail(id_, fingerprint="aaaaaaaaaaaa")

    changed = retry_dead(transactions, DeadFilter(queue="jobs"), ANN, progress=die_again)
    assert sorted(changed.message_ids) == sorted(ids)
    assert db("SELECT DISTINCT generation FROM callboard.dead_letters") == [(1,)]


def test_a_letter_that_died_anew_since_it_was_looked_up_is_not_meant(transactions, db, bury):
    id_ = bury(generation=1)
    with transactions() as cursor:
        assert dead_changes.put_back(cursor, [id_], [0]) == ([], [])
    assert db("SELECT count(*) FROM callboard.dead_letters") == [(1,)]


def test_two_operators_at_once_put_each_letter_back_once(transactions, db, bury, small_batches):
    ids = {bury(ago=timedelta(seconds=second)) for second in range(1, 61)}
    barrier, done = threading.Barrier(3), {}

    def run(operator):
        barrier.wait()
        done[operator.name, id(operator)] = retry_dead(transactions, DeadFilter(queue="jobs"), operator)

    operators = [ANN, BOB, type(BOB)("eve@host", "api")]
    threads = [threading.Thread(target=run, args=(operator,)) for operator in operators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    put_back = [id_ for changed in done.values() for id_ in changed.message_ids]
    assert sorted(put_back) == sorted(ids), "one was put back twice, or not at all"
    assert db("SELECT count(*), count(DISTINCT message_id), max(generation) FROM dramatiq.queue") == [(60, 60, 1)]
    assert db("SELECT sum(count)::integer FROM callboard.audit_log") == [(60,)]


def test_retry_and_purge_at_once_share_the_letters(transactions, db, bury, small_batches):
    ids = {bury(ago=timedelta(seconds=second)) for second in range(1, 61)}
    barrier, done = threading.Barrier(3), {}

    def run(change):
        barrier.wait()
        done[change] = change(transactions, DeadFilter(queue="jobs"), ANN)

    threads = [threading.Thread(target=run, args=(change,)) for change in (retry_dead, purge_dead, discard_dead)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changed = [id_ for result in done.values() for id_ in result.message_ids]
    assert sorted(changed) == sorted(ids)
    counts = db(
        "SELECT (SELECT count(*) FROM dramatiq.queue), (SELECT count(*) FROM callboard.message_history), "
        "(SELECT count(*) FROM callboard.dead_letters)"
    )
    assert counts == [(done[retry_dead].count, done[discard_dead].count, 0)]


def test_a_locked_letter_is_passed_by_and_named_as_missing(transactions, bury, each_database_url):
    locked, free = bury(), bury()
    statement = "SELECT 1 FROM callboard.dead_letters WHERE message_id = %s FOR UPDATE"
    with held_open(each_database_url, statement, locked):
        changed = retry_dead(transactions, DeadFilter(ids=(locked, free)), ANN)
    assert (changed.message_ids, changed.missing) == ((free,), (locked,))


def test_a_discarded_letter_moves_to_the_history(transactions, db, bury):
    id_, other = bury(dedupe_key="A", generation=2), bury(queue_name="others")
    assert discard_dead(transactions, DeadFilter(queue="jobs"), BOB).message_ids == (id_,)
    assert db(
        "SELECT message_id::text, outcome, actor_name, attempt, generation, dedupe_key, message #>> '{kwargs,to}' "
        "FROM callboard.message_history"
    ) == [(id_, "discarded", "job", 6, 2, "A", "ann@example.org")]
    assert db("SELECT message_id::text FROM callboard.dead_letters") == [(other,)]
    assert db(CHANGES) == [("bob@host", "dead discard", {"queue": "jobs"}, 1, None, {})]


def test_a_purged_letter_and_its_attempts_are_gone_for_good(transactions, db, bury):
    old, young = bury(ago=timedelta(days=31)), bury()
    for id_ in (old, young):
        db("INSERT INTO callboard.attempts (message_id, generation, attempt, outcome) VALUES (%s, 0, 1, 'dead')", id_)
    ((until,),) = db("SELECT now() - interval '30 days'")
    assert purge_dead(transactions, DeadFilter(until=until), BOB).message_ids == (old,)
    assert db("SELECT message_id::text FROM callboard.dead_letters") == [(young,)]
    assert db("SELECT message_id::text FROM callboard.attempts") == [(young,)]
    assert db("SELECT count(*) FROM callboard.message_history") == [(0,)]
    [(operator, action, asked, count, *_)] = db(CHANGES)
    assert (operator, action, asked["until"][:4], count) == ("bob@host", "dead purge", str(until.year), 1)


@pytest.mark.parametrize("change", [retry_dead, discard_dead, purge_dead])
def test_a_broken_path_changes_nothing(transactions, db, bury, change):
    bury()
    with pytest.raises(InvalidRequest, match="is no SQL/JSON path"):
        change(transactions, DeadFilter(where="$.to ="), ANN)
    assert db("SELECT count(*) FROM callboard.dead_letters") == [(1,)]


def test_the_audit_log_keeps_a_thousand_ids_and_says_how_many_there_were(transactions, db, bury):
    id_ = bury()
    ids = (id_, *(str(uuid.uuid4()) for _ in range(1_500)))
    changed = retry_dead(transactions, DeadFilter(ids=ids), ANN)
    assert (changed.count, len(changed.missing)) == (1, 1_500)
    [(_, _, asked, count, *_)] = db(CHANGES)
    assert (len(asked["ids"]), asked["ids_count"], count) == (1_000, 1_501, 1)


def test_a_failing_batch_leaves_no_trace(transactions, db, bury):
    bury()
    db("ALTER TABLE callboard.audit_log ADD CONSTRAINT nobody CHECK (operator <> 'ann@host')")
    with pytest.raises(psycopg2.errors.CheckViolation):
        retry_dead(transactions, DeadFilter(queue="jobs"), ANN)
    assert db("SELECT count(*) FROM dramatiq.queue") == [(0,)]
    assert db("SELECT count(*) FROM callboard.dead_letters") == [(1,)]
