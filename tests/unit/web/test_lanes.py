"""Lanes: what one kind of request, or one client of it, can take."""

from __future__ import annotations

import asyncio

import pytest

from callboard.app import POOL_SIZE
from callboard.web.limits.connections import CONNECTIONS_MAX
from callboard.web.limits.lanes import LIMITS, Busy, Gate, Limit


async def _settle():
    for _ in range(3):
        await asyncio.sleep(0)


class Crowd:
    """Requests at one gate, each held until it is let go."""

    def __init__(self, gate):
        self.gate, self.inside, self.refused = gate, [], []
        self.tasks = {}

    async def come(self, name, client):
        self.tasks[name] = (asyncio.create_task(self._stay(name, client)), asyncio.Event())
        await _settle()

    async def go(self, name):
        self.tasks[name][1].set()
        await _settle()

    async def _stay(self, name, client):
        try:
            async with self.gate.slot(client):
                self.inside.append(name)
                await self.tasks[name][1].wait()
                self.inside.remove(name)
        except Busy:
            self.refused.append(name)

    async def end(self):
        for task, let_go in self.tasks.values():
            let_go.set()
            await task


def test_one_client_never_gets_every_slot():
    async def scene():
        crowd = Crowd(Gate("reads", Limit(4, 8, None)))
        for number in range(6):
            await crowd.come(f"a{number}", "a")
        await crowd.come("b0", "b")
        assert crowd.inside == ["a0", "a1", "a2", "b0"]
        # When one of the first client's goes, its next one comes in; when the other's goes, none of the first one's
        await crowd.go("a0")
        assert crowd.inside == ["a1", "a2", "b0", "a3"]
        await crowd.go("b0")
        assert crowd.inside == ["a1", "a2", "a3"]
        await crowd.end()

    asyncio.run(scene())


def test_a_free_slot_goes_to_the_client_that_holds_the_fewest():
    async def scene():
        crowd = Crowd(Gate("reads", Limit(4, 8, None)))
        for name, client in [("a0", "a"), ("a1", "a"), ("a2", "a"), ("c0", "c"), ("a3", "a"), ("b0", "b")]:
            await crowd.come(name, client)
        await crowd.go("a0")
        assert crowd.inside == ["a1", "a2", "c0", "b0"]
        await crowd.end()

    asyncio.run(scene())


def test_who_finds_no_place_is_refused_at_once_and_one_client_never_gets_every_place():
    async def scene():
        crowd = Crowd(Gate("reads", Limit(1, 4, None)))
        for number in range(5):
            await crowd.come(f"a{number}", "a")
        await crowd.come("b0", "b")
        assert (crowd.inside, crowd.refused) == (["a0"], ["a4"])
        await crowd.come("b1", "b")
        assert crowd.refused == ["a4", "b1"]
        await crowd.end()

    asyncio.run(scene())


def test_who_waits_too_long_is_refused_and_its_slot_is_not_lost():
    async def scene():
        gate = Gate("reads", Limit(1, 4, None), wait_max_s=0.01)
        async with gate.slot("a"):
            with pytest.raises(Busy, match="too many reads requests"):
                async with gate.slot("b"):
                    pass
        async with gate.slot("b"):
            pass

    asyncio.run(scene())


def test_who_leaves_while_waiting_takes_no_slot_along():
    async def scene():
        gate = Gate("reads", Limit(1, 4, None))
        crowd = Crowd(gate)
        await crowd.come("a", "a")
        await crowd.come("b", "b")
        await crowd.come("c", "c")
        # When the waiting one is cancelled in the same moment in which the slot would be its own
        crowd.tasks["b"][0].cancel()
        await crowd.go("a")
        assert crowd.inside == ["c"]
        del crowd.tasks["b"]
        await crowd.end()

    asyncio.run(scene())


def test_the_lanes_fit_into_the_pool_and_into_the_connections_of_the_server():
    parts = [limit.connections for limit in LIMITS.values() if limit.connections is not None]
    assert sum(part.reserved for part in parts) <= POOL_SIZE
    # Whoever holds a slot never waits for a connection that the same lane's other slots hold
    assert all(limit.connections.most >= limit.slots for limit in LIMITS.values() if limit.connections)
    # Among all connections there is always one whose request is not being answered
    assert sum(limit.slots + limit.places for limit in LIMITS.values()) < CONNECTIONS_MAX
