"""One look for all who ask at that moment: however many they are, it costs one thread and one connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from callboard.web.limits.lanes import Gate

T = TypeVar("T")


class SharedLook(Generic[T]):
    """Look in the thread of a lane; what was found is good for fresh_s."""

    def __init__(self, look: Callable[[], T], gate: Gate, *, fresh_s: float = 0.0) -> None:
        self._look = look
        self._gate = gate
        self._fresh_s = fresh_s
        self._task: asyncio.Task[T] | None = None
        self._began_at = 0.0

    async def result(self, timeout_s: float) -> T:
        """Return what is found, or was a moment ago. Raises: TimeoutError, and what looking raises."""
        if self._task is None or (self._task.done() and time.monotonic() - self._began_at >= self._fresh_s):
            self._began_at = time.monotonic()
            self._task = asyncio.create_task(self._gate.in_thread(self._look))
            # With nobody left to hear of a failure, asyncio would complain of it.
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        # The look goes on for others, and ends by itself: its own calls have a deadline.
        return await asyncio.wait_for(asyncio.shield(self._task), timeout_s)
