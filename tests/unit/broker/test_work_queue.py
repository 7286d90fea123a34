"""The queue before the worker's threads: in order, however many come at once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from queue import Empty
from types import SimpleNamespace

import pytest

from callboard.broker.running.work_queue import WorkQueue

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def deliveries(*orders):
    return [
        SimpleNamespace(queue_name="jobs", order=(priority, NOW + timedelta(seconds=age), age))
        for priority, age in orders
    ]


def test_messages_come_by_priority_then_age():
    queue = WorkQueue()
    queue.put_all(deliveries((1, 3), (0, 2)))
    queue.put_all(deliveries((0, 1), (1, 4)))
    assert [queue.get().order[::2] for _ in range(4)] == [(0, 1), (0, 2), (1, 3), (1, 4)]


def test_an_empty_queue_is_waited_for_and_then_says_so():
    with pytest.raises(Empty):
        WorkQueue().get(timeout=0.01)


def test_many_messages_wake_all_who_wait():
    queue, got = WorkQueue(), []
    threads = [threading.Thread(target=lambda: got.append(queue.get(timeout=10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    queue.put_all(deliveries(*((0, number) for number in range(4))))
    for thread in threads:
        thread.join(10)
    assert sorted(item.order[2] for item in got) == [0, 1, 2, 3]


def test_join_waits_for_every_message_to_be_done():
    queue = WorkQueue()
    queue.put_all(deliveries((0, 1), (0, 2)))
    joining = threading.Thread(target=queue.join)
    joining.start()
    queue.get()
    queue.task_done()
    assert queue.unfinished_tasks == 1 and joining.is_alive()
    queue.get()
    queue.task_done()
    joining.join(10)
    assert not joining.is_alive()


def test_an_entry_is_what_dramatiqs_threads_take_apart():
    queue = WorkQueue()
    queue.put_all(deliveries((0, 1)))
    item = queue.get()
    _, message = item
    assert message is item.message


def test_a_closed_queue_keeps_nobody_waiting_and_gives_what_it_has():
    queue, ended = WorkQueue(), []

    def wait():
        try:
            queue.get(timeout=60)
        except Empty:
            ended.append(1)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    queue.close()
    for thread in threads:
        thread.join(10)
    assert len(ended) == 3
    queue.put_all(deliveries((0, 1)))
    assert queue.get(timeout=60).order[2] == 1
    with pytest.raises(Empty):
        queue.get()
