"""A server that sends what it has to say a byte at a time, and begins again when it has said it."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Between two bytes, s: far less than any timeout here.
PAUSE_S = 0.05
#: For how long it goes on, s: far more.
LONGEST_S = 10.0


class Dripping:
    """Says `first` at once, and then drips; where it `hears` it waits for the other side to speak before."""

    def __init__(self, drops: bytes, *, first: bytes = b"", hears: bool = True) -> None:
        self._drops, self._first, self._hears = drops, first, hears
        self._is_over = threading.Event()
        #: Set when somebody listened to the end.
        self.was_heard_out = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._talk, args=(peer,), daemon=True))
                self._threads[-1].start()

    def _talk(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            if self._hears:
                peer.recv(65_536)
            peer.sendall(self._first)
            for byte in self._bytes():
                if self._is_over.wait(PAUSE_S):
                    return
                peer.sendall(byte)
            self.was_heard_out = True

    def _bytes(self) -> Iterable[bytes]:
        said = itertools.cycle(self._drops[at : at + 1] for at in range(len(self._drops)))
        return itertools.islice(said, int(LONGEST_S / PAUSE_S))

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
