"""A proxy that forwards everything but notifications, as a pooler does that shares sessions."""

from __future__ import annotations

import contextlib
import socket

from tests.postgres.broker.proxy import Link, Proxy

#: Type byte and length of a message of Postgres' protocol.
HEADER_BYTES = 5


class DeafProxy(Proxy):
    """While is_deaf, NotificationResponse messages do not reach the client."""

    is_deaf = True

    def _pump(self, link: Link, is_request: bool) -> None:
        if is_request:
            super()._pump(link, is_request)
            return
        source, sink = link.server, link.client
        waiting, has_begun = b"", False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                waiting += data
                if not has_begun and waiting[:1] == b"N":
                    # The one byte that answers the wish for encryption is no message yet.
                    sink.sendall(waiting[:1])
                    waiting = waiting[1:]
                while len(waiting) >= HEADER_BYTES:
                    length = 1 + int.from_bytes(waiting[1:HEADER_BYTES], "big")
                    if len(waiting) < length:
                        break
                    has_begun = True
                    if not (self.is_deaf and waiting[:1] == b"A"):
                        sink.sendall(waiting[:length])
                    waiting = waiting[length:]
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
