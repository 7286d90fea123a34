"""Each reason why a message does not run, in the order in which they count."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from callboard.ops.audit import Operator, record
from callboard.ops.messages.explanation import explain
from callboard.ops.queues.controls import pause_queues

ANN = Operator("ann@host", "cli", "the mail server moves")


@pytest.fixture
def served(scene):
    """A queue that a worker with two threads serves, and whose actor it knows; returns the worker."""
    scene.actor()
    return scene.worker("emails", threads=2)


def told(cursor, message_id):
    found = explain(cursor, message_id, retry_limit=lambda queue: 5)
    assert (found.sentence.endswith(".") and found.advice.endswith(("list", "show", ".", "workers", "emails"))) or (
        message_id in found.advice or found.advice.split()[-1]
    )
    return found


def test_an_unknown_id(cursor):
    found = told(cursor, str(uuid.uuid4()))
    assert found.code == "unknown"
    assert "never stored, or its history is gone" in found.sentence and "send_in()" in found.advice


def test_a_message_whose_history_is_gone(cursor, scene):
    id_ = str(uuid.uuid4())
    scene.attempt(id_)
    assert told(cursor, id_).code == "forgotten"


def test_a_done_message(cursor, scene):
    found = told(cursor, scene.done(worker=scene.worker("emails", pid=9, past=True), attempt=2))
    assert found.code == "done"
    assert "attempt 2 ended well" in found.sentence and "node-1:9" in found.sentence


def test_a_discarded_message_says_by_whom(cursor, scene):
    id_ = scene.discarded()
    assert "by" not in told(cursor, id_).sentence.split("at ")[1]
    record(cursor, ANN, "messages cancel", filter={"ids": [id_]}, count=1)
    found = told(cursor, id_)
    assert (found.code, "by ann@host (messages cancel)" in found.sentence) == ("discarded", True)


def test_a_dead_message_says_why_and_how_to_bring_it_back(cursor, scene):
    id_ = scene.dead(reason="max_retries", attempt=6)
    found = told(cursor, id_)
    assert found.code == "dead"
    assert "after attempt 6 (max_retries): MailboxRefused: 550 no such mailbox" in found.sentence
    assert f"callboard dead retry {id_}" in found.advice


def test_a_running_message_says_where_and_since_when(cursor, scene, served):
    found = told(cursor, scene.running(served, run_s=90))
    assert found.code == "running"
    assert "(90 s), on node-1:17" in found.sentence


def test_a_running_message_that_was_asked_to_stop(cursor, scene, served):
    id_ = scene.running(served)
    cursor.execute(
        "INSERT INTO callboard.cancellations (message_id, worker_id, requested_by) VALUES (%s, %s, 'ann@host')",
        (id_, served),
    )
    found = told(cursor, id_)
    assert (found.code, "ann@host asked it to stop at" in found.sentence) == ("stopping", True)


def test_a_message_on_a_silent_worker_says_when_it_is_taken_back(cursor, scene):
    found = told(cursor, scene.running(scene.worker("emails", silent_s=15)))
    assert found.code == "silent"
    assert "silent for 15 s" in found.sentence and "taken back in about 10 s" in found.sentence


def test_a_message_on_a_worker_that_is_gone(cursor, scene):
    assert told(cursor, scene.running(str(uuid.uuid4()))).code == "lost"


def test_a_message_of_a_paused_queue_says_until_when_by_whom_and_why(cursor, scene, served):
    pause_queues(cursor, ["emails"], ANN, until=datetime.now(UTC) + timedelta(hours=2))
    # Also when there are other reasons: the pause comes first
    found = told(cursor, scene.queued(due_s=60))
    assert found.code == "paused"
    assert "until 20" in found.sentence and "by ann@host: the mail server moves" in found.sentence
    assert "callboard queues resume emails" in found.advice


def test_a_delayed_message_says_until_when(cursor, scene):
    found = told(cursor, scene.queued(due_s=3 * 3600))
    assert (found.code, "for another 3 h" in found.sentence) == ("delayed", True)


def test_a_message_that_waits_for_a_retry_says_after_which_error(cursor, scene):
    id_ = scene.queued(due_s=30, attempt=2, retries=2)
    scene.attempt(id_, 2, error="MailServerDown", text="refused\nand more")
    found = told(cursor, id_)
    assert found.code == "retry"
    assert "for retry 2 of 5, after attempt 2 failed with MailServerDown: refused." in found.sentence


def test_a_limit_of_the_message_itself_counts(cursor, scene):
    id_ = scene.queued(due_s=30, attempt=1, retries=1, options={"max_retries": 20})
    scene.attempt(id_, 1, error="ValueError", text="")
    assert "retry 1 of 20, after attempt 1 failed with ValueError." in told(cursor, id_).sentence


def test_a_postponed_message_says_why(cursor, scene):
    id_ = scene.queued(due_s=30, attempt=3, retries=1, reason="greylisted by mx.example.org")
    scene.attempt(id_, 1)
    found = told(cursor, id_)
    assert (found.code, "greylisted by mx.example.org" in found.sentence) == ("postponed", True)


def test_a_message_of_a_queue_that_nobody_serves(cursor, scene):
    scene.worker("reports")
    scene.worker("emails", silent_s=60)
    found = told(cursor, scene.queued())
    assert (found.code, "callboard work" in found.advice) == ("unserved", True)


def test_a_message_whose_actor_no_worker_knows(cursor, scene, served):
    found = told(cursor, scene.queued(actor="send_mail"))
    assert (found.code, "'send_mail'" in found.sentence) == ("unknown_actor", True)


def test_a_message_that_lost_two_workers_waits_for_its_turn_alone(cursor, scene, served):
    found = told(cursor, scene.queued(lost_workers=2))
    assert (found.code, "lost 2 workers" in found.sentence) == ("alone", True)


def test_a_message_behind_others_says_how_many_and_how_long(cursor, scene, served):
    # Given three before it by priority or age, and others behind it, not due or in another queue
    scene.queued(priority=-1, age_s=1)
    scene.queued(age_s=50)
    scene.queued(age_s=40)
    id_ = scene.queued(age_s=30)
    scene.queued(age_s=20)
    scene.queued(priority=1, age_s=99)
    scene.queued(priority=-9, due_s=60)
    scene.queued("reports", age_s=99)
    assert "cannot be said" in told(cursor, id_).sentence
    for _ in range(6):
        scene.done(ended_s=10)
    found = told(cursor, id_)
    assert found.code == "in_line"
    assert "number 4 of the ready messages of queue emails: 3 come before it" in found.sentence
    assert "in about 2 min" in found.sentence


def test_the_next_message_while_all_threads_are_busy(cursor, scene, served):
    for run_s in (10, 100):
        scene.running(served, "reports", run_s=run_s)
    found = told(cursor, scene.queued())
    assert found.code == "busy"
    assert "2 threads in 1 worker process serve it, all busy, the longest for 100 s" in found.sentence


def test_the_next_message_with_a_free_thread(cursor, scene, served):
    scene.running(served)
    assert told(cursor, scene.queued(age_s=2)).code == "starting"
    assert told(cursor, scene.queued(age_s=30)).code == "unheard"
