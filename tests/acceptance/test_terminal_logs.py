"""What the reader of a terminal sees of `callboard work`: lines for a person, and a failure once."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time

from tests.acceptance.processes import REPOSITORY

FAILS = """\
from callboard.app import actor

@actor(queue_name="jobs", max_retries=1, min_backoff=50)
def fails():
    raise ValueError("no such thing")
"""


def output_in_terminal(command, environment, folder, timeout_s=60):
    """Run a command whose stderr is a terminal, and return what it shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, until = b"", time.monotonic() + timeout_s
    try:
        while time.monotonic() < until:
            if select.select([ours], [], [], 0.2)[0]:
                shown += os.read(ours, 65_536)
            elif process.poll() is not None:
                break
    except OSError:  # The terminal's other side has gone.
        pass
    finally:
        os.close(ours)
        process.kill()
        process.wait()
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode(errors="replace")).replace("\r\n", "\n")


def test_a_failure_is_one_line_for_a_person_with_its_traceback(shell, database_url):
    # Given a message that fails twice, and then is dead
    (shell.folder / "failing.py").write_text(FAILS)
    path = os.pathsep.join([str(REPOSITORY), str(shell.folder)])
    assert shell.run_python("import actors, failing; failing.fails.send()", PYTHONPATH=path).returncode == 0
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(shell.folder),
        "PYTHONPATH": path,
        "DATABASE_URL": database_url,
        "METRICS_PORT": "off",
        "TERM": "xterm",
        "WORKER_PROCESSES": "1",
    }
    command = [sys.executable, "-m", "callboard.cli", "work", "failing", "--queues", "jobs", "--stop-when-empty"]
    shown = output_in_terminal(command, environment, shell.folder)
    # Then each line is for a person, those of the worker process too
    assert "worker started" in shown and '{"event"' not in shown, shown
    # And each failure is one line with its traceback below
    assert len(re.findall(r"message failed .*ValueError", shown)) == 1, shown
    assert len(re.findall(r"dead letter kept .*ValueError", shown)) == 1
    assert shown.count("Traceback (most recent call last)") == 2
    assert "Failed to process message" not in shown
