"""The verdict on the whole service, and its reasons."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from callboard.ops.health.status import DatabaseFigures, Level, assess, level_of
from callboard.ops.queues.figures import Pause
from callboard.ops.queues.listing import QueueView
from callboard.ops.workers import WorkerView

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
DATABASE = DatabaseFigures("18.0", 1_000_000, 10, 100, None, 0)
QUEUE = QueueView("emails", 0, 0, 0, 0, None, 0, 0.0, 0.0, 300.0, None, None, 0.0, 1, 8, None)
WORKER = WorkerView("id", "node-1", 17, ["emails"], 8, "1", NOW, NOW, 1.0, False, None, 0, [])
PAUSE = Pause(NOW, None, "it moves", "ann@host")


def verdict(*, database=DATABASE, queue=QUEUE, worker=WORKER):
    reasons = assess(database, [queue], [worker])
    return level_of(reasons), [reason.command for reason in reasons]


def test_all_is_well():
    assert verdict() == (Level.HEALTHY, [])


@pytest.mark.parametrize(
    ("queue", "level", "command"),
    [
        ({"ready": 5, "oldest_ready_s": 10, "workers": 0}, Level.WARNING, "callboard work"),
        ({"ready": 5, "oldest_ready_s": 60, "workers": 0}, Level.UNHEALTHY, "callboard work"),
        ({"ready": 5, "oldest_ready_s": 901}, Level.WARNING, "callboard queues list"),
        ({"delayed": 5, "pause": PAUSE}, Level.WARNING, "callboard queues resume emails"),
        ({"running": 20, "stuck": 11}, Level.WARNING, "callboard workers"),
    ],
)
def test_a_queue_that_is_not_well_names_the_next_command(queue, level, command):
    assert verdict(queue=replace(QUEUE, **queue)) == (level, [command])


@pytest.mark.parametrize(
    "queue",
    [
        {"ready": 5, "oldest_ready_s": 899},
        {"delayed": 5, "workers": 0},
        {"pause": PAUSE},
        {"running": 20, "stuck": 10},
    ],
)
def test_what_is_daily_work_is_no_reason(queue):
    assert verdict(queue=replace(QUEUE, **queue)) == (Level.HEALTHY, [])


def test_a_paused_queue_that_nobody_serves_is_only_paused():
    queue = replace(QUEUE, ready=5, oldest_ready_s=9999, workers=0, pause=PAUSE)
    assert verdict(queue=queue) == (Level.WARNING, ["callboard queues resume emails"])


def test_workers_letters_and_transactions_are_looked_at_too():
    worker = replace(WORKER, is_suspect=True)
    database = replace(DATABASE, dead_last_hour=10, oldest_transaction_s=3600)
    level, commands = verdict(worker=worker, database=database)
    assert (level, commands[:2]) == (Level.WARNING, ["callboard workers", "callboard dead groups"])
    assert "pg_stat_activity" in commands[2]


def test_the_worst_comes_first():
    queue = replace(QUEUE, ready=5, oldest_ready_s=60, workers=0)
    worker = replace(WORKER, is_suspect=True)
    assert verdict(queue=queue, worker=worker) == (Level.UNHEALTHY, ["callboard work", "callboard workers"])
