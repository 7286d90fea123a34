"""Lanes: each kind of request has slots, waiting places and connections of its own, so that none takes another's.

A slot is a thread at work. What finds none free waits for one, and is told to come again when that takes too long.
One client, told apart by its address, never gets all slots or all places of a lane; of those that wait, the one
whose client holds the fewest slots comes first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from callboard.db.connections.shares import Part

T = TypeVar("T")

#: Longest wait for a slot, s.
WAIT_MAX_S = 5.0


class Lane(StrEnum):
    """A kind of request."""

    WEBHOOKS = "webhooks"
    CREATIONS = "creations"
    YOOKASSA = "yookassa"
    READS = "reads"
    DOWNLOADS = "downloads"
    OPERATORS = "operators"
    PROBES = "probes"
    METRICS = "metrics"


@dataclass(frozen=True)
class Limit:
    """How many requests of a lane work at once, how many may wait, and what they may hold of the pool."""

    slots: int
    places: int
    connections: Part | None


#: docs/scaling.md shows them, and is tested against them.
LIMITS = {
    Lane.WEBHOOKS: Limit(6, 128, Part(2, 6)),
    Lane.CREATIONS: Limit(4, 384, Part(1, 4)),
    # Whoever finds no slot here does not wait: a worker goes on.
    Lane.YOOKASSA: Limit(16, 0, None),
    Lane.READS: Limit(6, 128, Part(1, 6)),
    Lane.DOWNLOADS: Limit(4, 32, None),
    Lane.OPERATORS: Limit(3, 32, Part(1, 3)),
    # One look of each kind for all who ask at that moment; see callboard.web.limits.shared_look.
    Lane.PROBES: Limit(2, 0, Part(2, 2)),
    Lane.METRICS: Limit(1, 0, Part(1, 1)),
}
THREADS = sum(limit.slots for limit in LIMITS.values())


class Busy(Exception):
    """No slot of a lane came free in time, or too many wait already."""

    def __init__(self, lane: str) -> None:
        super().__init__(f"There are too many {lane} requests at once.")
        self.lane = lane


class Gate:
    """The slots of one lane; everything here runs on the event loop, so that no lock is needed."""

    def __init__(self, name: str, limit: Limit, *, wait_max_s: float = WAIT_MAX_S) -> None:
        self._name = name
        self._limit = limit
        self._wait_max_s = wait_max_s
        self._client_slots = _most_of(limit.slots)
        self._client_places = _most_of(limit.places)
        self._held: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], str] = {}
        self._threads = CapacityLimiter(limit.slots)

    @asynccontextmanager
    async def slot(self, client: str) -> AsyncIterator[None]:
        """Hold a slot for the block. Raises: Busy."""
        if not self.try_enter(client):
            await self._wait(client)
        try:
            yield
        finally:
            self.leave(client)

    async def run(self, client: str, work: Callable[..., T], *arguments: object) -> T:
        """Run work in a thread of this lane. Raises: Busy."""
        async with self.slot(client):
            return await self.in_thread(work, *arguments)

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Run work in a thread, for whoever holds a slot."""
        return await to_thread.run_sync(partial(work, *arguments), limiter=self._threads)

    def try_enter(self, client: str) -> bool:
        """Take a slot if one is free for this client."""
        is_free = self._held.total() < self._limit.slots and self._held[client] < self._client_slots
        if is_free:
            self._held[client] += 1
        return is_free

    def leave(self, client: str) -> None:
        """Give a slot back, to whoever may have it next."""
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        self._pass_on()

    async def _wait(self, client: str) -> None:
        of_client = sum(other == client for other in self._waiting.values())
        if len(self._waiting) >= self._limit.places or of_client >= self._client_places:
            raise Busy(self._name)
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = client
        try:
            async with asyncio.timeout(self._wait_max_s):
                await turn
        except BaseException as error:
            # The slot may have been given in the same moment.
            if self._waiting.pop(turn, None) is None:
                self.leave(client)
            if isinstance(error, TimeoutError):
                raise Busy(self._name) from error
            raise

    def _pass_on(self) -> None:
        # One that was cancelled a moment ago is still here.
        waiting = [
            (turn, client)
            for turn, client in self._waiting.items()
            if not turn.done() and self._held[client] < self._client_slots
        ]
        if waiting and self._held.total() < self._limit.slots:
            turn, client = min(waiting, key=lambda item: self._held[item[1]])
            del self._waiting[turn]
            self._held[client] += 1
            turn.set_result(None)


def make_gates() -> dict[Lane, Gate]:
    """Return the gate of every lane."""
    return {lane: Gate(lane, limit) for lane, limit in LIMITS.items()}


def _most_of(count: int) -> int:
    """Return how much of it one client may have: three quarters, so that something is left for the others."""
    return max(count * 3 // 4, min(count, 1))
