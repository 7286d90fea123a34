"""A command in a terminal, as a person sees it."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time

from tests.acceptance.processes import REPOSITORY
from tests.conftest import wait_until


class Terminal:
    """A command in a terminal of so many columns."""

    def __init__(self, columns, url, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "DATABASE_URL": url}
            environment |= {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}
            os.execve(sys.executable, [sys.executable, "-m", "callboard.cli", *arguments], environment)  # noqa: S606
        self.screen = ""

    def wait_for(self, text):
        def look():
            if select.select([self.fd], [], [], 0)[0]:
                self.screen += os.read(self.fd, 65536).decode(errors="replace")
            return text in self.screen

        wait_until(look, 30, f"{text!r} on the screen")

    def press(self, key):
        os.write(self.fd, key.encode())

    def end(self):
        """Return the exit code; reads on, as a full terminal would hold the command up."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.screen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    break
        else:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
