"""How many connections the server keeps, and which one goes when there are too many.

A connection is cheap until its request is being answered, and how many of those there are is bounded by the lanes. So
what idles, sends its request slowly or reads its answer slowly is closed first, that of the client who has the most of
them, and whoever comes always gets in: a liveness probe among them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from callboard.log import get_logger
from callboard.web.requests.refusals import Refusals

log = get_logger(__name__)

#: Connections at once: more than all slots and waiting places of the lanes, so that one can always be closed.
CONNECTIONS_MAX = 1_000
#: Time from the first byte of a request, or from connecting, to the end of its headers, s.
HEADERS_TIMEOUT_S = 10.0
#: Time in which a client must read something of its answer, s.
READ_TIMEOUT_S = 60.0
LOOK_S = 1.0


class Connections:
    """The open connections of one server."""

    def __init__(
        self,
        refusals: Refusals,
        *,
        most: int = CONNECTIONS_MAX,
        headers_timeout_s: float = HEADERS_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._refusals = refusals
        self._most = most
        self._headers_timeout_s = headers_timeout_s
        self._read_timeout_s = read_timeout_s
        self._open: set[Protocol] = set()
        self._look: asyncio.TimerHandle | None = None

    def admit(self, connection: Protocol) -> None:
        """Count a new connection, and close another where there are too many."""
        self._open.add(connection)
        if len(self._open) > self._most:
            self._make_room(connection)
        if self._look is None:
            self._plan_look()

    def forget(self, connection: Protocol) -> None:
        """Count one less."""
        self._open.discard(connection)

    def _make_room(self, newest: Protocol) -> None:
        closable = [connection for connection in self._open if connection is not newest and connection.is_closable]
        counts = Counter(connection.peer for connection in closable)
        # Without any the newest goes: each of the others has a request that is being answered.
        victim = max(closable, key=lambda one: (counts[one.peer], -one.waits_since), default=newest)
        self._close(victim, "too_many_connections")

    def _plan_look(self) -> None:
        pause_s = min(LOOK_S, self._headers_timeout_s / 2, self._read_timeout_s / 2)
        self._look = asyncio.get_running_loop().call_later(pause_s, self._look_around)

    def _look_around(self) -> None:
        now = time.monotonic()
        for connection in [*self._open]:
            waited_s = now - connection.waits_since
            if connection.awaits_headers and waited_s > self._headers_timeout_s:
                self._close(connection, "headers_too_slow")
            elif connection.unread_s(now) > self._read_timeout_s:
                self._close(connection, "answer_not_read")
        self._look = None
        if self._open:
            self._plan_look()

    def _close(self, connection: Protocol, reason: str) -> None:
        self._open.discard(connection)
        # What is merely closed would wait for a client that reads nothing.
        connection.transport.abort()
        self._refusals.note(reason, connection.peer)


class Protocol(H11Protocol):
    """uvicorn's protocol, which knows what its connection waits for."""

    #: Set by protocol_of().
    registry: Connections

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else "unknown"
        self.waits_since = time.monotonic()
        #: Whether a request has begun to come, or must: on a new connection, and after the first byte on an old one.
        self._is_due = True
        self._unread_bytes, self._read_at = 0, self.waits_since
        self.registry.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.registry.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_idle and not self._is_due:
            self._is_due, self.waits_since = True, time.monotonic()
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._is_due, self.waits_since = False, time.monotonic()
        super().on_response_complete()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def awaits_headers(self) -> bool:
        """Whether a request has begun, or must, and its headers are not complete."""
        return self._is_idle and self._is_due

    def unread_s(self, now: float) -> float:
        """Return for how long the client has read nothing of an answer that it has; to be asked now and then."""
        unread_bytes = self.transport.get_write_buffer_size()
        if not unread_bytes or unread_bytes < self._unread_bytes:
            self._read_at = now
        self._unread_bytes = unread_bytes
        return now - self._read_at

    @property
    def is_closable(self) -> bool:
        """Whether no request is being answered here: none has come, or not all of it, or its answer is not read."""
        return self._is_idle or bool(self.cycle.more_body) or self.flow.write_paused


def protocol_of(registry: Connections) -> type[H11Protocol]:
    """Return the protocol whose connections a registry keeps."""
    return type("RegisteredProtocol", (Protocol,), {"registry": registry})
