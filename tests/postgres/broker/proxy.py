"""A TCP proxy in front of Postgres that misbehaves on request, so that a broken network can be had at will."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlsplit

_HOLD_LOOK_S = 0.01


@dataclass
class Link:
    """One connection through the proxy: the worker's end and Postgres's."""

    client: socket.socket
    server: socket.socket
    is_cut: bool = False
    #: A request went through whose answer is to be lost.
    loses: bool = False
    pumps: list[threading.Thread] = field(default_factory=list)

    def cut(self) -> None:
        self.is_cut = True
        for each in (self.client, self.server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        for pump in self.pumps:
            pump.join(5)
        self.client.close()
        self.server.close()


class Proxy:
    """Listens on loopback and forwards to the Unix socket of the server in url.

    What it holds back is not lost: like packets that are sent again after a partition, it arrives when the network
    is whole again, also after the sender has long given up. New connections are accepted all the time.
    """

    def __init__(self, url: str, port: int = 0) -> None:
        parts = urlsplit(url)
        self._target = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._database = parts.path
        self._listener = socket.create_server(("127.0.0.1", port))
        #: Acknowledge requests, or answers, and forward none.
        self.holds_requests = False
        self.holds_answers = False
        #: Time each packet takes, s.
        self.latency_s = 0.0
        self._before_loss: Callable[[], object] | None = None
        self._marker = self._holding = b""
        self._links: list[Link] = []
        self._is_closed = False

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._listener.getsockname()[1]}{self._database}"

    @property
    def is_silent(self) -> bool:
        """Whether nothing gets through in either direction."""
        return self.holds_requests and self.holds_answers

    @is_silent.setter
    def is_silent(self, value: bool) -> None:
        self.holds_requests = self.holds_answers = value

    def lose_next_answer(self, then: Callable[[], object], to: bytes, holding: bytes = b"") -> None:
        """Forward requests that hold `to`, keep the first answer that has `holding`, call then(), and cut the link."""
        self._marker, self._holding, self._before_loss = to, holding, then

    def cut(self) -> None:
        """End every connection, with all that is held back."""
        links, self._links = self._links, []
        for link in links:
            link.close()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        # close() alone would leave the accepting thread where it is, and it would take one more connection.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._target)
            except OSError:
                # Postgres is down: refuse, as its own port would.
                client.close()
                server.close()
                continue
            link = Link(client, server)
            link.pumps = [
                threading.Thread(target=self._pump, args=(link, is_request), daemon=True)
                for is_request in (True, False)
            ]
            self._links.append(link)
            for pump in link.pumps:
                pump.start()
            if self._is_closed:
                link.close()

    def _pump(self, link: Link, is_request: bool) -> None:
        source, sink = (link.client, link.server) if is_request else (link.server, link.client)
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_request and self._before_loss is not None and self._marker in data:
                    link.loses = True
                if not is_request and link.loses and self._before_loss is not None and self._holding in data:
                    then, self._before_loss = self._before_loss, None
                    then()
                    link.cut()
                    return
                self._travel(link, is_request)
                sink.sendall(data)
            # The end of a connection travels like everything else.
            self._travel(link, is_request)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _travel(self, link: Link, is_request: bool) -> None:
        time.sleep(self.latency_s)
        while (self.holds_requests if is_request else self.holds_answers) and not link.is_cut:
            time.sleep(_HOLD_LOOK_S)
