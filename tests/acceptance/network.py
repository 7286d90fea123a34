"""A network between workers and Postgres that can be away, come later, and be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from tests.postgres.broker.proxy import Proxy


class Network(Proxy):
    """The broker tests' proxy, on a port that may be known before, and with every socket closed at its end."""

    def __init__(self, url: str, port: int = 0) -> None:
        super().__init__(url)
        self._listener.close()
        self._listener = socket.create_server(("127.0.0.1", port))
        self._pumps: set[threading.Thread] = set()

    def __exit__(self, *_: object) -> None:
        # close() alone would leave the accepting thread where it is, and it would take one more connection.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        super().__exit__()
        for pump in list(self._pumps):
            pump.join(5)
        for each in self._sockets:
            each.close()

    def _pump(self, *arguments: Any) -> None:
        self._pumps.add(threading.current_thread())
        super()._pump(*arguments)
