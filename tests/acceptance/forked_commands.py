"""Commands that are forked from a process which has imported everything: what one costs is nearly all imports.

Such a command is a process as any other, with an environment, a folder, streams and an exit code of its own, and runs
callboard/cli/__main__.py from its first line. Nothing that reads the environment is imported before it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from tests.acceptance.command_parent import SIZE_BYTES

REPOSITORY = Path(__file__).resolve().parents[2]
#: The beginnings of names that are read while an interpreter starts or imports; a fork would not see them.
READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "PROMETHEUS_", "dramatiq_")
#: Processes that stay are what a test of them is about.
SERVICES = frozenset({"work", "api", "dev"})
STARTED_WITH = {"PYTHONPATH": str(REPOSITORY)}
_one_asks = threading.Lock()


def can_fork(arguments: tuple[str, ...], environment: dict[str, str]) -> bool:
    """Tell whether a command is no service, and a fork sees all that a started interpreter would."""
    return (
        not SERVICES.intersection(arguments[:1])
        and {name: value for name, value in environment.items() if name.startswith(READ_AT_START)} == STARTED_WITH
    )


def run(
    arguments: tuple[str, ...], environment: dict[str, str], folder: Path, stdin: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run `callboard …` and return what it said, as subprocess.run does."""
    (stdin_end, given), (said, stdout_end), (warned, stderr_end) = os.pipe(), os.pipe(), os.pipe()
    ours, answer_end = socket.socketpair()
    with answer_end:
        _ask([arguments, environment, str(folder)], [answer_end.fileno(), stdin_end, stdout_end, stderr_end])
    for end in (stdin_end, stdout_end, stderr_end):
        os.close(end)
    ours.settimeout(timeout_s)
    with ours, ours.makefile() as answer, ThreadPoolExecutor(3) as streams:
        pid = int(answer.readline())
        out, err = (streams.submit(_read, end) for end in (said, warned))
        streams.submit(_give, given, stdin)
        try:
            code = int(answer.readline())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(arguments, timeout_s) from None
        return subprocess.CompletedProcess(arguments, code, out.result(timeout_s), err.result(timeout_s))


def _read(end: int) -> str:
    with os.fdopen(end) as stream:
        return stream.read()


def _give(end: int, text: str) -> None:
    # It may end without having read it.
    with contextlib.suppress(BrokenPipeError), os.fdopen(end, "w") as stream:
        stream.write(text)


def _ask(request: object, streams: list[int]) -> None:
    asked = json.dumps(request).encode()
    with _one_asks:
        socket.send_fds(_parent(), [len(asked).to_bytes(SIZE_BYTES, "big")], streams)
        _parent().sendall(asked)


@cache
def _parent() -> socket.socket:
    """Start the parent of all commands of this run, which ends when nobody can ask any more."""
    ours, theirs = socket.socketpair()
    with theirs:
        # Streams as a command's, so that what the interpreter learns of them at its start holds for its children.
        parent = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.command_parent", str(theirs.fileno())],
            env={"PATH": os.environ["PATH"], **STARTED_WITH},
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
    atexit.register(parent.communicate)
    atexit.register(ours.close)
    return ours
