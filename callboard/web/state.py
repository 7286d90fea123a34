"""What every request may need, kept on the app so that tests can give their own."""

from __future__ import annotations

import importlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from anyio.to_thread import current_default_thread_limiter
from fastapi import Depends, Request

from callboard.app import POOL_SIZE
from callboard.db import Pool
from callboard.db.connections.shares import Share, Shares
from callboard.settings import Settings
from callboard.web.limits.lanes import LIMITS, THREADS, Gate, Lane, make_gates
from callboard.web.limits.shared_look import SharedLook
from callboard.web.requests.client_address import client_name
from callboard.web.requests.refusals import Refusals

if TYPE_CHECKING:
    from callboard.payments import Gateway

T = TypeVar("T")


@dataclass
class State:
    """Settings and connections of one app."""

    settings: Settings
    pool: Pool
    #: Longest time POST /payments waits for YooKassa, s; then it answers 202 and a worker goes on.
    create_budget_s: float = 10.0
    started_at: float = field(default_factory=time.monotonic)
    gates: dict[Lane, Gate] = field(default_factory=make_gates)
    refusals: Refusals = field(default_factory=Refusals)
    _looks: dict[str, SharedLook[Any]] = field(default_factory=dict)
    _gateway: Gateway | None = None
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        if self.settings.yukassa_shop_id is not None:
            # YooKassa's SDK takes half a second to load: now, and not while the first customer waits.
            importlib.import_module("callboard.payments.gateway")
        # What only describes the app has no pool.
        if isinstance(self.pool, Pool):
            self.pool.read_everything()
        parts = {str(lane): limit.connections for lane, limit in LIMITS.items() if limit.connections is not None}
        self._shares = Shares(self.pool, POOL_SIZE, parts)

    def database(self, lane: Lane) -> Share:
        """Return the part of the pool that requests of a lane have."""
        return self._shares.part(lane)

    def look(self, name: str, look: Callable[[], T], lane: Lane, *, fresh_s: float = 0.0) -> SharedLook[T]:
        """Return the one look of this name, which all who ask share."""
        if name not in self._looks:
            self._looks[name] = SharedLook(look, self.gates[lane], fresh_s=fresh_s)
        return self._looks[name]

    @property
    def gateway(self) -> Gateway:
        """The shop at YooKassa. Raises: ConfigurationError when none is set."""
        with self._lock:
            if self._gateway is None:
                from callboard.payments import Gateway

                self._gateway = Gateway.from_settings(self.settings)
            return self._gateway


# What a request depends on is async throughout: as a plain function it would wait for a thread before any limit counts.
async def _state(request: Request) -> State:
    state: State = request.app.state.callboard
    return state


CurrentState = Annotated[State, Depends(_state)]


async def _client(request: Request, state: CurrentState) -> str:
    return client_name(request, state.settings.trusted_proxies)


Client = Annotated[str, Depends(_client)]


def through(lane: Lane) -> Any:
    """Return the dependency of a route whose every request holds a slot of a lane, and works in a thread."""

    async def pass_through(state: CurrentState, client: Client) -> AsyncIterator[None]:
        # A request that holds a slot finds a thread: there are as many as all slots together.
        current_default_thread_limiter().total_tokens = THREADS
        async with state.gates[lane].slot(client):
            yield

    # By it a test sees that no route is without.
    pass_through.lane = lane  # type: ignore[attr-defined]
    # The slot is given back before the answer leaves: a client that reads slowly holds none.
    return Depends(pass_through, scope="function")
