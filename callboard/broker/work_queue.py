"""The queue between the intake and the worker's threads: by priority and age, many at a time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from heapq import heappop, heappush
from queue import PriorityQueue
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from callboard.broker.delivery import Delivery


class WorkItem(NamedTuple):
    """An entry as Dramatiq's threads take it: a pair for 1.x, an object with a message for 2.x."""

    order: tuple[int, datetime, int]
    message: Delivery


class WorkQueue(PriorityQueue[WorkItem]):
    """Takes the place of the queue that a Dramatiq Worker makes for itself.

    That one takes a lock and wakes a thread for each message; while messages are short, this costs as much as they
    do. A heap of (order, message) is also first in, first out within a priority, which Dramatiq 1.18's is not.
    """

    def put_all(self, deliveries: Iterable[Delivery]) -> None:
        """Add messages and wake as many threads as there are messages."""
        with self.mutex:
            before = len(self.queue)
            for delivery in deliveries:
                heappush(self.queue, WorkItem(delivery.order, delivery))
            count = len(self.queue) - before
            self.unfinished_tasks += count
            self.not_empty.notify(count)

    def get(self, block: bool = True, timeout: float | None = None) -> WorkItem:  # noqa: FBT001, FBT002 - queue.Queue's own
        """Take the first message; wait for one only if there is none."""
        with self.mutex:
            if self.queue:
                return heappop(self.queue)
        return super().get(block, timeout)

    def task_done(self) -> None:
        with self.mutex:
            self.unfinished_tasks -= 1
            if self.unfinished_tasks == 0:
                self.all_tasks_done.notify_all()
