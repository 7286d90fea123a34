"""A TCP proxy in front of Postgres that misbehaves on request, so that a broken network can be had at will."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import parse_qs, urlsplit


class Proxy:
    """Listens on loopback and forwards to the Unix socket of the server in url."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._database = parts.path
        self._listener = socket.create_server(("127.0.0.1", 0))
        #: Reads and acknowledges, forwards nothing.
        self.is_silent = False
        self._before_loss: Callable[[], object] | None = None
        self._marker = b""
        self._sockets: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._listener.getsockname()[1]}{self._database}"

    def lose_next_answer(self, then: Callable[[], object], to: bytes) -> None:
        """Forward the next request that holds `to`, keep its answer, call then(), and cut the connection."""
        self._marker, self._before_loss = to, then

    def cut(self) -> None:
        """End every connection."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._sockets += [client, server]
            state = {"loses": False}
            threading.Thread(target=self._pump, args=(client, server, state, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, state, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, state: dict, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_request and self._before_loss is not None and self._marker in data:
                    state["loses"] = True
                if not is_request and state["loses"] and self._before_loss is not None:
                    then, self._before_loss = self._before_loss, None
                    then()
                    break
                if not self.is_silent:
                    sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
