"""The figures read what they must and no more, on every kind of server."""

from __future__ import annotations

import pytest

from benchmarks.filling import Sizes, fill
from callboard.db import connect, sql
from callboard.ops.queues.figures import STUCK_AFTER_S
from callboard.terms import BEAT_OVERDUE_S
from tests.chaos.plans import explain
from tests.conftest import wait_until


@pytest.fixture
def connection(each_database_url, request):
    connection = connect(each_database_url, autocommit=True)
    with connection.cursor() as cursor:
        fill(cursor, Sizes(queued=30_000, history=getattr(request, "param", 60_000), dead=5_000))

        def is_clean():
            # Autovacuum's own analysis of another table keeps rows from being seen as visible to all.
            cursor.execute("VACUUM dramatiq.queue")
            cursor.execute("SELECT relallvisible > 0.9 * relpages FROM pg_class WHERE oid = 'dramatiq.queue'::regclass")
            return cursor.fetchone()[0]

        wait_until(is_clean, 30, "a clean table")
    yield connection
    connection.close()


def test_the_figures_of_queues_are_counted_in_indexes(connection):
    limits = {"stuck_after_s": STUCK_AFTER_S, "beat_overdue_s": BEAT_OVERDUE_S}
    plan = explain(connection, sql("queues/figures"), limits)
    assert plan.seq_scans("queue") == [], str(plan)
    assert plan.indexes("queue") == {"queue_ready_idx", "queue_running_idx"}


# Of less than 100,000, reading all of it is cheaper than one block range of 128 pages.
@pytest.mark.parametrize("connection", [200_000], indirect=True)
def test_the_pace_reads_the_end_of_the_history_and_not_all_of_it(connection):
    # The history spans 10 minutes
    for window_s in (10.0, 30.0):
        for name in ("queues/pace", "queues/ended_since"):
            plan = explain(connection, sql(name), {"window_s": window_s})
            # The bitmaps of all tables are among them.
            assert "message_history_ended_idx" in plan.indexes("message_history"), str(plan)
            # A block range of the index is 128 pages of some 15 messages.
            assert plan.rows_removed("message_history") < 10_000, str(plan)


def test_the_newest_of_the_history_are_found_from_its_end(connection):
    wanted = dict.fromkeys(("queue_name", "actor_name", "since", "until", "path", "after_at", "after_id"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() - interval '20 seconds'")
        (moment,) = cursor.fetchone()
    wanted |= {"states": ["done", "discarded", "dead"], "limit": 50, "is_oldest": False, "looked_back_to": moment}
    plan = explain(connection, sql("messages/list_ended"), wanted)
    assert plan.indexes("message_history") == {"message_history_ended_idx"}, str(plan)
    plan = explain(connection, sql("messages/list_dead"), wanted)
    assert plan.indexes("dead_letters") == {"dead_letters_died_idx"}, str(plan)


def test_running_messages_alone_are_found_by_their_index(connection):
    wanted = dict.fromkeys(("queue_name", "actor_name", "since", "until", "path", "after_at", "after_id"))
    wanted |= {"states": ["running"], "row_states": ["running"], "limit": 50, "is_oldest": False}
    plan = explain(connection, sql("messages/list_live"), {**wanted, "looked_back_to": "-infinity"})
    assert plan.indexes("queue") == {"queue_running_idx"}, str(plan)


def test_what_is_ahead_of_a_message_is_counted_in_the_index(connection):
    place = {"queue_name": "emails", "priority": 5, "available_at": "infinity", "seq": 0}
    plan = explain(connection, sql("messages/ahead"), place)
    assert plan.indexes("queue") == {"queue_ready_idx"}, str(plan)


def test_the_names_of_queues_take_a_probe_each(connection):
    plan = explain(connection, sql("queues/names"), {})
    assert plan.seq_scans("queue") == [], str(plan)
