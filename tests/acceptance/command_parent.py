"""What tests/acceptance/forked_commands.py starts: it has imported everything, and forks for each command."""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import sys

# All that the commands that ask the database import; callboard.app and actors read the environment, and are left out.
import callboard.broker
import callboard.cli.main
import callboard.processes.background.worker
import callboard.processes.folders
import callboard.settings  # noqa: F401

SIZE_BYTES = 4
#: Of a request: where the exit code goes to, then the command's own three streams.
STREAMS = 4


def next_command(requests: socket.socket) -> None:
    """Fork for each request, and return in the command's own process. The parent ends with who asks."""
    while True:
        size, streams, _, _ = socket.recv_fds(requests, SIZE_BYTES, STREAMS)
        if not size:
            os._exit(0)
        asked, length = b"", int.from_bytes(size, "big")
        # No more than this request: with the next one come streams.
        while len(asked) < length and (part := requests.recv(length - len(asked))):
            asked += part
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _run_in_child(*streams)
            _become(*json.loads(asked))
            return
        for stream in streams:
            os.close(stream)


def _run_in_child(answer: int, *streams: int) -> None:
    """Return in a child with these streams; this process waits for it, tells its exit code and ends."""
    pid = os.fork()
    if pid:
        for stream in streams:
            os.close(stream)
        os.write(answer, b"%d\n" % pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(answer, b"%d\n" % code)
        os._exit(0)
    os.close(answer)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)


def _become(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # As `python -m` has it.
    sys.path[0] = folder
    sys.argv[1:] = arguments


if __name__ == "__main__":
    # Whoever waits for a command is waited for by nobody.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    next_command(socket.socket(fileno=int(sys.argv.pop())))
    runpy.run_module("callboard.cli", run_name="__main__", alter_sys=True)
