"""The whole story of a message, wherever it is."""

from __future__ import annotations

import uuid

import pytest

from callboard.errors import NotFound
from callboard.ops.audit import Operator, record
from callboard.ops.messages.story import find_by_key, tell_story


def test_every_run_of_every_generation_is_told_with_its_worker(cursor, scene):
    # Given a message that failed, died, was brought back, lost a worker and was done
    past, present = scene.worker("emails", pid=1, past=True), scene.worker("emails", pid=2)
    id_ = scene.done(attempt=2, generation=1, worker=present, age_s=500, run_s=2)
    scene.attempt(id_, 1, worker=past, ended_s=400, run_s=1.5, traceback="Traceback …")
    scene.attempt(id_, 2, "dead", worker=str(uuid.uuid4()), ended_s=300, reason="max_retries")
    scene.attempt(id_, 1, "lost", generation=1, ended_s=200, error="LostWorker")
    story = tell_story(cursor, id_)
    # Then each run is there, in order
    assert [(run.generation, run.attempt, run.outcome) for run in story.runs] == [
        (0, 1, "retry"),
        (0, 2, "dead"),
        (1, 1, "lost"),
        (1, 2, "done"),
    ]
    first, second, third, last = story.runs
    assert (first.worker, last.worker, third.worker) == ("node-1:1", "node-1:2", None)
    assert second.worker.startswith("worker ")
    assert (first.run_s, last.run_s) == (pytest.approx(1.5), pytest.approx(2))
    assert (first.error_class, first.error_message, first.traceback) == (
        "MailServerDown",
        "refused\nmore",
        "Traceback …",
    )
    assert (story.record.state, story.record.message["kwargs"]) == ("done", {"to": "a@example.org"})


def test_a_running_message_shows_its_worker_and_who_asked_it_to_stop(cursor, scene):
    worker = scene.worker("emails", pid=5)
    id_ = scene.running(worker, attempt=3, run_s=42)
    cursor.execute(
        "INSERT INTO callboard.cancellations (message_id, worker_id, requested_by) VALUES (%s, %s, 'ann@host')",
        (id_, worker),
    )
    story = tell_story(cursor, id_)
    assert (story.holder.hostname, story.holder.pid, story.holder.stop_requested_by) == ("node-1", 5, "ann@host")
    (run,) = story.runs
    assert (run.outcome, run.attempt, run.ended_at, run.run_s, run.worker) == ("running", 3, None, None, "node-1:5")


@pytest.mark.parametrize("kind", ["queued", "discarded", "dead"])
def test_a_message_is_found_wherever_it_is(cursor, scene, kind):
    story = tell_story(cursor, getattr(scene, kind)())
    assert (story.record.state, story.runs, story.holder) == (kind, [], None)


def test_what_operators_did_to_it_by_its_id_is_told(cursor, scene):
    id_, other = scene.queued(age_s=100), scene.queued()
    ann = Operator("ann@host", "cli", "wrong address")
    record(cursor, ann, "dead retry", filter={"ids": [id_, other]}, count=2)
    record(cursor, ann, "messages cancel", filter={"ids": [other]}, count=1)
    assert [(c.operator, c.action, c.reason) for c in tell_story(cursor, id_).changes] == [
        ("ann@host", "dead retry", "wrong address")
    ]
    assert len(tell_story(cursor, other).changes) == 2


def test_a_message_that_was_sent_again_is_where_it_is_now(cursor, scene):
    id_ = scene.done(ended_s=100)
    scene.dead(id=id_, ended_s=50)
    assert tell_story(cursor, id_).record.state == "dead"
    scene.queued(id=id_)
    assert tell_story(cursor, id_).record.state == "queued"


def test_an_unknown_id_is_an_error_that_says_where_to_look(cursor):
    with pytest.raises(NotFound, match=r"never stored, or its history is gone.*callboard messages list"):
        tell_story(cursor, str(uuid.uuid4()))


def test_the_holder_of_a_dedupe_key_is_found(cursor, scene):
    id_ = scene.queued(key="order-1")
    scene.queued("reports", key="order-1")
    assert find_by_key(cursor, "emails", "order-1") == id_
    with pytest.raises(NotFound, match="the next send with it is stored"):
        find_by_key(cursor, "emails", "order-2")
