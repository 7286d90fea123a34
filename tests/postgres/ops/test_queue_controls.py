"""Pausing, resuming and discarding: what is written, what is refused, what happens meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from callboard.errors import InvalidRequest, NotFound
from callboard.ops.audit import Operator, list_changes
from callboard.ops.queues.controls import discard_batch, pause_queues, plan_discard, resume_queues
from callboard.ops.queues.figures import queue_figures
from tests.conftest import wait_until

ANN = Operator("ann@host", "cli", "the mail server moves")


def pauses(cursor):
    return {figures.queue_name: figures.pause for figures in queue_figures(cursor) if figures.pause}


def test_a_pause_says_since_when_until_when_by_whom_and_why(cursor, scene):
    scene.actor()
    until = datetime.now(UTC) + timedelta(hours=2)
    assert pause_queues(cursor, ["emails", "emails"], ANN, until=until) == ["emails"]
    pause = pauses(cursor)["emails"]
    assert (pause.until, pause.reason, pause.by) == (until, "the mail server moves", "ann@host")
    assert "until 20" in pause.text and "by ann@host: the mail server moves" in pause.text
    cursor.execute("SELECT is_paused, paused_until, pause_reason FROM callboard.queue_overview")
    (change,) = list_changes(cursor, limit=5)
    assert (change.action, change.filter, change.count, change.reason) == (
        "queues pause",
        {"queues": ["emails"]},
        1,
        "the mail server moves",
    )


def test_a_second_pause_replaces_end_and_reason(cursor, scene):
    scene.actor()
    pause_queues(cursor, ["emails"], ANN, until=datetime.now(UTC) + timedelta(hours=2))
    pause_queues(cursor, ["emails"], Operator("bob@host", "api"))
    pause = pauses(cursor)["emails"]
    assert (pause.until, pause.reason, pause.by) == (None, None, "bob@host")
    assert "until somebody resumes it" in pause.text


def test_a_typo_pauses_nothing(cursor, scene):
    scene.actor()
    with pytest.raises(NotFound, match=r"'email'.*Known queues: emails.*--force"):
        pause_queues(cursor, ["emails", "email"], ANN)
    assert (pauses(cursor), list_changes(cursor, limit=5)) == ({}, [])
    pause_queues(cursor, ["email"], ANN, is_new_allowed=True)
    assert list(pauses(cursor)) == ["email"]


@pytest.mark.parametrize("names", [[], [""], ["a\0b"]])
def test_a_name_that_is_none_is_refused(cursor, names):
    with pytest.raises(InvalidRequest):
        pause_queues(cursor, names, ANN, is_new_allowed=True)


def test_a_pause_until_a_moment_ends_by_itself(cursor, scene):
    scene.actor()
    pause_queues(cursor, ["emails"], ANN, until=datetime.now(UTC) - timedelta(seconds=1))
    assert pauses(cursor) == {}


def test_resuming_returns_those_that_were_paused(cursor, scene):
    for queue in ("emails", "reports"):
        scene.actor(queue, queue)
    pause_queues(cursor, ["emails"], ANN)
    assert resume_queues(cursor, ["emails", "reports"], ANN) == ["emails"]
    assert pauses(cursor) == {}
    assert [change.action for change in list_changes(cursor, limit=5)] == ["queues resume", "queues pause"]
    with pytest.raises(NotFound, match="Not paused: emails"):
        resume_queues(cursor, ["emails"], ANN)
    with pytest.raises(NotFound, match="Known queues"):
        resume_queues(cursor, ["email"], ANN)


def test_resuming_rings_the_doorbell_with_its_commit(each_database_url, cursor, scene):
    scene.actor()
    pause_queues(cursor, ["emails"], ANN)
    cursor.connection.commit()
    ears = psycopg2.connect(each_database_url)
    ears.autocommit = True
    ears.cursor().execute("LISTEN callboard")
    resume_queues(cursor, ["emails"], ANN)
    ears.poll()
    assert ears.notifies == []
    cursor.connection.commit()
    wait_until(lambda: ears.poll() or [ring.channel for ring in ears.notifies] == ["callboard"])
    ears.close()


def test_the_overview_for_people_with_a_prompt_shows_pauses(cursor, scene):
    scene.queued()
    scene.queued("reports")
    pause_queues(cursor, ["emails"], ANN)
    cursor.execute("SELECT queue_name, ready, is_paused, pause_reason FROM callboard.queue_overview ORDER BY 1")
    assert cursor.fetchall() == [("emails", 1, True, "the mail server moves"), ("reports", 1, False, None)]


def discard_all(cursor, plan, limit=2):
    while not plan.is_complete:
        plan = discard_batch(cursor, plan, ANN, limit=limit)
    return plan


def test_a_discard_takes_exactly_what_waited_when_it_was_counted(cursor, scene):
    # Given messages in every state, of every priority
    worker = scene.worker("emails")
    waiting = [scene.queued(priority=priority, age_s=age) for priority in (5, -5, 0) for age in (10, 20)]
    waiting.append(scene.queued(due_s=3600))
    running, other = scene.running(worker), scene.queued("reports")
    plan = plan_discard(cursor, "emails")
    assert plan.count == 7
    # When one comes after the count
    late = scene.queued(age_s=100)
    plan = discard_all(cursor, plan)
    # Then that one stays, as does what runs and what waits elsewhere
    assert plan.discarded == 7
    cursor.execute("SELECT message_id::text FROM dramatiq.queue")
    assert {id_ for (id_,) in cursor.fetchall()} == {late, running, other}
    cursor.execute("SELECT message_id::text, outcome, started_at FROM callboard.message_history")
    assert sorted(cursor.fetchall()) == sorted((id_, "discarded", None) for id_ in waiting)
    # And each batch is on record, with what it belongs to
    changes = list_changes(cursor, action="queues discard", limit=50)
    assert sum(change.count for change in changes) == 7
    assert len({change.details["operation"] for change in changes}) == 1
    assert all(change.details["of"] == 7 for change in changes)


def test_what_a_worker_hands_back_meanwhile_is_discarded_by_the_next_pass(cursor, scene):
    back = scene.running(scene.worker("emails"), priority=-9)
    for _ in range(3):
        scene.queued()
    plan = discard_batch(cursor, plan_discard(cursor, "emails"), ANN, limit=2)
    cursor.execute("UPDATE dramatiq.queue SET state = 'queued', lease_id = NULL WHERE message_id = %s", (back,))
    assert discard_all(cursor, plan).discarded == 4


def test_a_message_that_a_claim_holds_is_left_to_it(each_database_url, cursor, scene):
    ids = [scene.queued() for _ in range(3)]
    cursor.connection.commit()
    other = psycopg2.connect(each_database_url)
    with other.cursor() as claiming:
        claiming.execute("SELECT 1 FROM dramatiq.queue WHERE message_id = %s FOR UPDATE", (ids[0],))
        plan = discard_all(cursor, plan_discard(cursor, "emails"))
        assert (plan.count, plan.discarded) == (3, 2)
    other.close()


def test_discarding_nothing_and_an_unknown_queue(cursor, scene):
    scene.actor()
    assert plan_discard(cursor, "emails").count == 0
    with pytest.raises(NotFound, match="Known queues: emails"):
        plan_discard(cursor, "emials")
