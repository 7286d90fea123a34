"""An SMTP server that answers as a test dictates, also in ways no SMTP server of a library would."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

HANG_UP = "hang up"
SILENCE = "silence"
#: One line after the other, a byte at a time.
DRIPS = "drips"
USUAL = {
    "BANNER": "220 scripted",
    "EHLO": "250 scripted",
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go on",
    "END": "250 2.0.0 kept",
    "NOOP": "250 ok",
    "RSET": "250 ok",
    "QUIT": "221 bye",
}

Answers = dict[str, str | list[str]]


class ScriptedServer:
    """Follow one script a connection, the last one for all later ones; a list answers one time after another.

    "RCPT <ann@x.test>" is the answer for that recipient alone.
    """

    def __init__(self, *scripts: Answers, context: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts or ({},)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._is_over = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        #: The verbs of each connection.
        self.verbs: list[list[str]] = []
        self.lines: list[str] = []
        self.contents: list[bytes] = []
        #: Set when somebody listened to a dripping answer to its end.
        self.was_heard_out = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        threads = []
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                script = self._scripts[min(len(self.verbs), len(self._scripts) - 1)]
                self.verbs.append([])
                thread = threading.Thread(target=self._talk, args=(peer, script, self.verbs[-1]), daemon=True)
                thread.start()
                threads.append(thread)
        for thread in threads:
            thread.join(10)

    def _talk(self, peer: socket.socket, script: Answers, verbs: list[str]) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                peer = self._context.wrap_socket(peer, server_side=True)
        self._open.append(peer)
        answers = {verb: [value] if isinstance(value, str) else list(value) for verb, value in (USUAL | script).items()}
        with peer, contextlib.suppress(OSError), peer.makefile("rb") as lines:
            if not self._answer(peer, "BANNER", answers):
                return
            for line in lines:
                verb = line.split()[0].decode(errors="replace").upper()
                verbs.append(verb)
                self.lines.append(line.decode(errors="replace").rstrip("\r\n"))
                recipient = f"{verb} {line.decode(errors='replace').partition(':')[2].strip()}"
                if not self._answer(peer, recipient if recipient in answers else verb, answers):
                    return
                if verb == "DATA" and self._last.startswith("354"):
                    self.contents.append(b"".join(iter(lines.readline, b".\r\n")))
                    if not self._answer(peer, "END", answers):
                        return

    def _answer(self, peer: socket.socket, verb: str, answers: dict[str, list[str]]) -> bool:
        given = answers.get(verb, ["502 not implemented"])
        self._last = given.pop(0) if len(given) > 1 else given[0]
        if self._last == SILENCE:
            self._is_over.wait(30)
        if self._last == DRIPS:
            self._drip(peer)
        if self._last in (HANG_UP, SILENCE, DRIPS):
            # Also where the reader's file still holds the socket.
            peer.shutdown(socket.SHUT_RDWR)
            return False
        peer.sendall(self._last.replace("\n", "\r\n").encode() + b"\r\n")
        return not self._last.startswith("421")

    def _drip(self, peer: socket.socket) -> None:
        for byte in b"250-more\r\n" * 20:
            if self._is_over.wait(0.05):
                return
            peer.sendall(bytes([byte]))
        self.was_heard_out = True

    def close(self) -> None:
        self._is_over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._open:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
