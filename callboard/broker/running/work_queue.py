"""The queue between the intake and the worker's threads: in turns over queues, by priority and age, many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from operator import itemgetter
from queue import Empty, PriorityQueue
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from callboard.broker.running.delivery import Delivery


class WorkItem(NamedTuple):
    """An entry as Dramatiq's threads take it: a pair for 1.x, an object with a message for 2.x."""

    order: tuple[int, datetime, int]
    message: Delivery


class WorkQueue(PriorityQueue[WorkItem]):
    """Takes the place of the queue that a Dramatiq Worker makes for itself.

    That one takes a lock and wakes a thread for each message; while messages are short, this costs as much as they
    do. It is one heap by priority: in 1.18 without an order within a priority, and in every version a queue with a deep
    backlog, or with lower numbers, keeps the messages of all others waiting. Here the next free thread goes to the
    queue that waited longest, or, in strict order, to the first that has any.
    """

    def __init__(self, strict_order: Iterable[str] = ()) -> None:
        super().__init__()
        #: The messages of each queue, first to last; the queues in order of their turn.
        self._lines: dict[str, deque[WorkItem]] = {name: deque() for name in strict_order}
        self._is_strict = bool(self._lines)
        self._length = 0
        self._is_closed = False

    def close(self) -> None:
        """Let nobody wait for a message from now on; what is here can be taken still."""
        with self.mutex:
            self._is_closed = True
            self.not_empty.notify_all()

    def put_all(self, deliveries: Iterable[Delivery]) -> None:
        """Add messages and wake as many threads as there are messages."""
        with self.mutex:
            items: dict[str, list[WorkItem]] = {}
            for delivery in deliveries:
                items.setdefault(delivery.queue_name, []).append(WorkItem(delivery.order, delivery))
            for name, added in items.items():
                self._line_up(name, added)
            count = sum(map(len, items.values()))
            self._length += count
            self.unfinished_tasks += count
            self.not_empty.notify(count)

    def get(self, block: bool = True, timeout: float | None = None) -> WorkItem:  # noqa: FBT001, FBT002 - queue.Queue's own
        """Take the first message; wait for one only if there is none."""
        with self.mutex:
            if not self._length and block:
                self.not_empty.wait_for(lambda: self._length or self._is_closed, timeout)
            if not self._length:
                raise Empty
            return self._get()

    def task_done(self) -> None:
        with self.mutex:
            self.unfinished_tasks -= 1
            if self.unfinished_tasks == 0:
                self.all_tasks_done.notify_all()

    def _line_up(self, name: str, added: list[WorkItem]) -> None:
        # A claim comes in order and nearly always after what the one before brought: then nothing is compared twice.
        added.sort(key=itemgetter(0))
        line = self._lines.setdefault(name, deque())
        if line and added[0].order < line[-1].order:
            added = sorted((*line, *added), key=itemgetter(0))
            line.clear()
        line.extend(added)

    # The parent calls these under its lock.

    def _qsize(self) -> int:
        return self._length

    def _put(self, item: WorkItem) -> None:
        self._line_up(item.message.queue_name, [item])
        self._length += 1

    def _get(self) -> WorkItem:
        self._length -= 1
        name = next(name for name, line in self._lines.items() if line)
        line = self._lines[name]
        if not self._is_strict and len(self._lines) > 1:
            self._lines[name] = self._lines.pop(name)
        return line.popleft()
