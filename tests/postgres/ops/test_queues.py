"""The figures of queues: right with rows in every state."""

from __future__ import annotations

import pytest

from callboard.errors import NotFound
from callboard.ops.audit import Operator
from callboard.ops.queues import pace
from callboard.ops.queues.controls import pause_queues
from callboard.ops.queues.listing import known_queues, list_queues, queue_size, require_known

ANN = Operator("ann@host", "cli", "the mail server moves")


def view(cursor, name="emails"):
    return next(queue for queue in list_queues(cursor) if queue.queue_name == name)


def test_each_message_counts_where_it_is(cursor, scene):
    worker, gone = scene.worker("emails", threads=4), scene.worker("emails", silent_s=60)
    scene.worker("emails", "reports", threads=3)
    for due_s in (-90, -5):
        scene.queued(due_s=due_s, age_s=100)
    scene.queued(due_s=3600)
    scene.running(worker)
    scene.running(worker, run_s=7200)
    scene.running(gone)
    scene.done()
    scene.discarded()
    scene.dead()
    scene.queued("reports", due_s=60)
    emails, reports = list_queues(cursor)
    assert (emails.ready, emails.delayed, emails.running, emails.stuck, emails.dead) == (2, 1, 3, 2, 1)
    assert 89 < emails.oldest_ready_s < 100
    assert (emails.workers, emails.threads) == (2, 7)
    assert (reports.ready, reports.delayed, reports.oldest_ready_s, reports.workers) == (0, 1, None, 1)
    assert (emails.pause, reports.pause) == (None, None)


def test_the_pace_counts_what_came_and_left_within_its_window(cursor, scene):
    # Given what came lately and is in every place, among older ones
    worker = scene.worker("emails")
    scene.queued(age_s=10)
    scene.queued(age_s=10, due_s=86_400)
    scene.running(worker, age_s=10)
    scene.done(age_s=10, ended_s=5, run_s=2)
    scene.dead(age_s=10, ended_s=5)
    scene.discarded(age_s=10, ended_s=5)
    scene.queued(age_s=4000)
    scene.running(worker, age_s=4000)
    scene.done(age_s=4000, ended_s=100, run_s=4)
    scene.dead(age_s=4000, ended_s=100)
    scene.done(age_s=4000, ended_s=3000, run_s=100)
    # Then six came, and four left by being worked; the discarded one did not
    emails = view(cursor)
    assert (emails.in_per_min, emails.out_per_min, emails.window_s) == (6 / 5, 4 / 5, 300)
    assert emails.mean_run_s == pytest.approx(3)
    # And what it takes is arrivals a second by the mean run
    assert emails.workers_needed == pytest.approx(6 / 300 * 3, abs=0.01)
    assert emails.empty_in_s is None


def test_the_time_to_empty_is_what_is_ready_over_what_it_shrinks_by(cursor, scene):
    for _ in range(30):
        scene.queued(age_s=4000)
    for _ in range(10):
        scene.done(age_s=4000, ended_s=5)
    assert view(cursor).empty_in_s == pytest.approx(30 / (10 / 300))
    pause_queues(cursor, ["emails"], ANN)
    assert view(cursor).empty_in_s is None


def test_a_fast_queue_is_sampled_over_a_shorter_window(cursor, scene, monkeypatch):
    monkeypatch.setattr(pace, "SAMPLE_ENOUGH", 5)
    scene.actor()
    for _ in range(6):
        scene.done(ended_s=20)
    emails = view(cursor)
    assert (emails.window_s, emails.out_per_min) == (60, 6)


def test_a_queue_without_runs_needs_nobody_knows_how_many(cursor, scene):
    scene.queued(age_s=5)
    assert view(cursor).workers_needed is None
    scene.actor("make_report", "reports")
    assert view(cursor, "reports").workers_needed == 0


def test_a_queue_is_known_by_whatever_names_it(cursor, scene):
    scene.actor("a", "by-actor")
    scene.queued("by-message")
    scene.running(scene.worker("by-worker"), "by-running")
    scene.dead("by-letter")
    pause_queues(cursor, ["by-pause"], ANN, is_new_allowed=True)
    names = ["by-actor", "by-letter", "by-message", "by-pause", "by-running", "by-worker"]
    assert known_queues(cursor) == names
    require_known(cursor, names)
    with pytest.raises(NotFound, match=r"'by-mesage' or 'x'.*by-actor, by-letter"):
        require_known(cursor, ["by-message", "x", "by-mesage"])


def test_the_size_counts_what_waits_or_runs(cursor, scene):
    scene.queued()
    scene.queued(due_s=60)
    scene.running(scene.worker("emails"))
    scene.done()
    scene.queued("reports")
    assert (queue_size(cursor), queue_size(cursor, "emails")) == (4, 3)
    with pytest.raises(NotFound, match="Known queues: emails, reports"):
        queue_size(cursor, "email")


def test_nothing_at_all_is_no_error(cursor):
    assert list_queues(cursor) == []
    with pytest.raises(NotFound, match="there are none yet"):
        require_known(cursor, ["emails"])
