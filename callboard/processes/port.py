"""The HTTP server of worker processes: small, and not to be taken down by who asks.

One thread talks to all connections. Each has a deadline for its request and one for its answer, and beyond a number
of them the one that has waited longest makes room, so that a probe, which asks at once, is always heard. Answers are
made by two other threads, as the page of metrics takes its time and health must not wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from queue import SimpleQueue
from typing import Any

from callboard.log import get_logger

log = get_logger(__name__)

#: Connections at once.
CONNECTIONS_MAX = 128
#: Time for a request to come, from the connection on, and for its answer to be made and taken, s.
REQUEST_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
REQUEST_MAX_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a request."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self, *, with_body: bool = True) -> bytes:
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"Content-Type: {self.media_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            *(f"{name}: {value}" for name, value in self.headers),
            "Connection: close",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (self.body if with_body else b"")


@dataclass(frozen=True, slots=True)
class Page:
    """What a path answers; is_slow: it is made beside the others, once for all who wait for it."""

    make: Callable[[], Answer]
    is_slow: bool = False


@dataclass(eq=False)
class _Connection:
    writer: asyncio.StreamWriter
    has_asked: bool = False


@dataclass
class WorkerPort:
    """Serves pages at sockets that listen, until stop()."""

    listeners: Sequence[socket.socket]
    pages: dict[str, Page]
    _open: dict[_Connection, None] = field(default_factory=dict)
    _being_made: dict[str, asyncio.Future[Answer]] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop | None = None
    _stopped: asyncio.Event | None = None

    @property
    def port(self) -> int:
        return int(self.listeners[0].getsockname()[1])

    def serve(self) -> None:
        """Serve until stop() is called from another thread."""
        asyncio.run(self._serve())

    def stop(self) -> None:
        if self._loop is not None and self._stopped is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        self._quick, self._slow = _Desk("callboard-health-pages"), _Desk("callboard-metrics-page")
        servers = [
            await asyncio.start_server(self._talk, sock=listener, limit=REQUEST_MAX_BYTES)
            for listener in self.listeners
        ]
        try:
            await self._stopped.wait()
        finally:
            for server in servers:
                server.close()
            for desk in (self._quick, self._slow):
                desk.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        self._make_room()
        self._open[connection] = None
        # Whoever hangs up, is hung up on or takes too long gets no answer.
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            try:
                await self._answer(connection, reader)
            finally:
                self._open.pop(connection, None)
                writer.close()

    def _make_room(self) -> None:
        """Hang up on who has been there longest without a request; only where all have one, on the first of those."""
        while len(self._open) >= CONNECTIONS_MAX:
            oldest = next((one for one in self._open if not one.has_asked), next(iter(self._open)))
            del self._open[oldest]
            oldest.writer.transport.abort()

    async def _answer(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        with_body = True
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            answer = refusal(431, "The request's headers are too long.")
        else:
            connection.has_asked = True
            method, path = _request_of(head)
            with_body = method != "HEAD"
            answer = await self._answer_to(method, path)
        connection.writer.write(answer.encoded(with_body=with_body))
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await connection.writer.drain()

    async def _answer_to(self, method: str, path: str) -> Answer:
        if not method:
            return refusal(400, "This is no HTTP request.")
        if method not in ("GET", "HEAD"):
            return refusal(405, "Ask with GET or HEAD.", ("Allow", "GET, HEAD"))
        page = self.pages.get(path)
        if page is None:
            *others, last = self.pages
            return refusal(404, f"Ask for {', '.join(others)} or {last}.")
        try:
            # Shielded: others may wait for the same page when the time of this one is over.
            return await asyncio.wait_for(asyncio.shield(self._made(path, page)), ANSWER_TIMEOUT_S)
        except TimeoutError:
            return refusal(503, f"The page could not be made within {ANSWER_TIMEOUT_S:g} s.")

    def _made(self, path: str, page: Page) -> asyncio.Future[Answer]:
        """Return the page that is being made already, or have it made."""
        making = self._being_made.get(path)
        if making is None:
            making = (self._slow if page.is_slow else self._quick).ask(page.make)
            self._being_made[path] = making
            making.add_done_callback(lambda _: self._being_made.pop(path))
        return making


class _Desk:
    """A thread that makes pages, one after the other; a daemon, as one that hangs must not keep the process."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._orders: SimpleQueue[tuple[Callable[[], Answer], asyncio.Future[Answer]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def ask(self, make: Callable[[], Answer]) -> asyncio.Future[Answer]:
        made: asyncio.Future[Answer] = self._loop.create_future()
        self._orders.put((make, made))
        return made

    def close(self) -> None:
        self._orders.put(None)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            make, made = order
            try:
                answer = make()
            except Exception:
                log.exception("page of the worker's port failed")
                answer = refusal(500, "The page could not be made. See the worker's log.")
            with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile, and nobody waits.
                self._loop.call_soon_threadsafe(_hand_over, made, answer)


def _hand_over(made: asyncio.Future[Answer], answer: Answer) -> None:
    if not made.done():
        made.set_result(answer)


def json_answer(status: int, said: Mapping[str, Any], *headers: tuple[str, str]) -> Answer:
    return Answer(status, json.dumps(said).encode(), headers=headers)


def refusal(status: int, why: str, *headers: tuple[str, str]) -> Answer:
    return json_answer(status, {"error": why}, *headers)


def _request_of(head: bytes) -> tuple[str, str]:
    """Return method and path of a request, both empty where it is none."""
    method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    target, _, version = rest.rpartition(" ")
    if not (method.isalpha() and target and version.startswith("HTTP/")):
        return "", ""
    # A proxy may ask with the whole address.
    path = target if target.startswith("/") else "/" + target.partition("://")[2].partition("/")[2]
    return method, path.partition("?")[0]
