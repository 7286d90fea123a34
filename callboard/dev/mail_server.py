"""The mail server of demo, dev and tests: a real SMTP conversation, real .eml files, trouble on request.

It keeps two records that nobody else writes, so that others can check what left the service:
<time>-<number>.eml for each mail it accepted, and attempts.jsonl with every answer it gave.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import weakref
from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from callboard.errors import CallboardError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

START_TIMEOUT_S = 10
#: How often stop() looks, every 10 ms, whether all conversations are closed.
HANG_UP_LOOKS = 100
BOOKS = "attempts.jsonl"
#: In the books instead of a code where the server hung up without an answer.
NO_ANSWER = 0


@dataclass(frozen=True)
class MailPlan:
    """How the server misbehaves, by recipient.

    refused: 550 at every RCPT. greylisted: 451 for that many RCPTs. dropped: mails lost with the connection,
    after the final dot and before an answer, that many times; kept_and_dropped: the same, but the mail is kept.
    slow_once_s: wait before the answer to the first RCPT. tarpit_s: wait before the answer to any RCPT.
    """

    refused: frozenset[str] = frozenset()
    greylisted: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    kept_and_dropped: Mapping[str, int] = field(default_factory=dict)
    slow_once_s: Mapping[str, float] = field(default_factory=dict)
    tarpit_s: float = 0

    @classmethod
    def from_json(cls, text: str) -> MailPlan:
        """Read a plan from an object with the fields' names.

        Raises: ConfigurationError.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"The mail plan is not JSON: {error}.") from error
        known = [each.name for each in fields(cls)]
        if not isinstance(values, dict) or (unknown := sorted(set(values) - set(known))):
            got = ", ".join(unknown) if isinstance(values, dict) else type(values).__name__
            raise ConfigurationError(f"A mail plan is an object with any of {', '.join(known)}, got {got}.")
        return cls(**{**values, "refused": frozenset(values.get("refused", ()))})


@dataclass(frozen=True)
class Attempt:
    """One line of the books; code is NO_ANSWER where the server hung up."""

    recipient: str
    verb: str
    code: int
    at: str


class MailServer:
    """Serve SMTP on a thread of its own until stop(); also a context manager."""

    def __init__(
        self, directory: Path | str, host: str = "127.0.0.1", port: int = 0, plan: MailPlan | None = None
    ) -> None:
        self.directory = Path(directory)
        self.host = host
        #: The port asked for; after start() the one it listens on.
        self.port = port
        self._handler = _Handler(self.directory, plan or MailPlan())
        # Weak, so that a long demo does not keep every conversation that ever was.
        self._sessions: weakref.WeakSet[SMTP] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def start(self) -> None:
        """Listen, and return when mails are taken.

        Raises: CallboardError where the port is not free.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            listener = socket.create_server((self.host, self.port))
        except OSError as error:
            raise CallboardError(
                f"The mail server cannot listen on {self.host}:{self.port}: {error.strerror}. Choose another port."
            ) from error
        self.port = listener.getsockname()[1]
        is_ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, is_ready)), name="dev-mail-server", daemon=True
        )
        self._thread.start()
        if not is_ready.wait(START_TIMEOUT_S):
            raise CallboardError(f"The mail server on port {self.port} did not start within {START_TIMEOUT_S} s.")

    def stop(self) -> None:
        """Hang up on everybody and stop listening; a second call does nothing."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_TIMEOUT_S)
        self._thread = None

    def attempts(self) -> list[Attempt]:
        """Return the books: every answer at RCPT and at the end of a mail, in order."""
        path = self.directory / BOOKS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [Attempt(**json.loads(line)) for line in lines]

    def mails(self) -> list[Path]:
        """Return the files of the accepted mails, in the order of their arrival."""
        return sorted(self.directory.glob("*.eml"))

    async def _serve(self, listener: socket.socket, is_ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await self._listen(listener)
        is_ready.set()
        await self._stopping.wait()
        server.close()
        for session in list(self._sessions):
            if session.transport is not None:
                cast("asyncio.Transport", session.transport).abort()
        for _ in range(HANG_UP_LOOKS):
            if all(session.transport is None for session in self._sessions):
                break
            await asyncio.sleep(0.01)

    async def _listen(self, listener: socket.socket) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(self._session, sock=listener)

    def _session(self) -> SMTP:
        session = SMTP(self._handler, hostname="mail.test", ident="Callboard development mail", enable_SMTPUTF8=True)
        self._sessions.add(session)
        return session

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Handler:
    """aiosmtpd's hooks; all of them run on the server's one event loop, so nothing here needs a lock."""

    def __init__(self, directory: Path, plan: MailPlan) -> None:
        self._directory = directory
        self._plan = plan
        self._done: Counter[tuple[str, str]] = Counter()
        self._numbers = iter(range(10**9))

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name for it
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if self._is_due("slow_once_s", address, 1 if address in self._plan.slow_once_s else 0):
            await asyncio.sleep(self._plan.slow_once_s[address])
        await asyncio.sleep(self._plan.tarpit_s)
        if address in self._plan.refused:
            answer = "550 5.1.1 No such mailbox"
        elif self._is_due("greylisted", address, self._plan.greylisted.get(address, 0)):
            answer = "451 4.7.1 Greylisted, try again later"
        else:
            envelope.rcpt_tos.append(address)
            answer = "250 2.1.5 Recipient accepted"
        self._note(address, "RCPT", int(answer[:3]))
        return answer

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name for it
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
    ) -> str:
        recipients = list(envelope.rcpt_tos)
        is_lost = any(self._is_due("dropped", each, self._plan.dropped.get(each, 0)) for each in recipients)
        is_cut = any(
            self._is_due("kept_and_dropped", each, self._plan.kept_and_dropped.get(each, 0)) for each in recipients
        )
        if not is_lost:
            self._keep(recipients, envelope.original_content or b"")
        for recipient in recipients:
            self._note(recipient, "DATA", NO_ANSWER if is_lost or is_cut else 250)
        if is_lost or is_cut:
            cast("asyncio.Transport", server.transport).abort()
            # The lost connection cancels this; any answer would be written into the void with a traceback.
            await asyncio.Event().wait()
        return "250 2.0.0 Kept"

    def _is_due(self, what: str, recipient: str, times: int) -> bool:
        """Count one more occasion and return whether it is among the first so many."""
        self._done[what, recipient] += 1
        return self._done[what, recipient] <= times

    def _keep(self, recipients: list[str], content: bytes) -> None:
        # The time sorts mails of several runs in one folder, the number those of one clock tick.
        name = f"{time.time_ns():020d}-{next(self._numbers):06d}"
        head = "".join(f"X-Envelope-To: {recipient}\r\n" for recipient in recipients)
        temporary = self._directory / f".{name}.tmp"
        temporary.write_bytes(head.encode() + content)
        temporary.replace(self._directory / f"{name}.eml")

    def _note(self, recipient: str, verb: str, code: int) -> None:
        line = {"recipient": recipient, "verb": verb, "code": code, "at": datetime.now(UTC).isoformat()}
        # One write in append mode: whoever reads meanwhile sees whole lines.
        descriptor = os.open(self._directory / BOOKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn SIGTERM and Ctrl-C into an event."""
    is_over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_over.set())
    yield is_over


def main(arguments: list[str] | None = None) -> int:
    """Run the server in the foreground until SIGTERM or Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m callboard.dev.mail_server", description=main.__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where mails and the books go")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=1025, help="port to listen on; 0 for any free one")
    parser.add_argument("--plan", type=Path, help="JSON file with the trouble to make; see MailPlan")
    options: Any = parser.parse_args(arguments)
    with _stop_signals() as is_over:
        try:
            plan = MailPlan.from_json(options.plan.read_text(encoding="utf-8")) if options.plan else None
            server = MailServer(options.directory, options.host, options.port, plan)
            server.start()
        except (CallboardError, OSError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
        sys.stdout.write(f"Mail server listens on {server.host}:{server.port}, keeps mails in {server.directory}\n")
        sys.stdout.flush()
        is_over.wait()
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
