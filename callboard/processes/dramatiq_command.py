"""Dramatiq's own command, as `callboard work` runs it: the same in all but how long its end takes.

Dramatiq waits in seconds. Its worker process looks once a second whether it was told to stop, and the reader of its
logs waits a second for another line before it sees that all is over: an idle process takes two to end, of which
nothing is work.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dramatiq
from dramatiq import cli

#: Longest sleep of a worker process's main loop, s.
SLEEP_MAX_S = 0.1

_watch_logs = cli.watch_logs


def _sleep(seconds: float) -> None:
    time.sleep(min(seconds, SLEEP_MAX_S))


def _watch_logs_until_told(log_file: str | None, pipes: list[Any], stop: threading.Event) -> None:
    """Let the reader of logs hear of its end as it hears of a line."""
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def tell() -> None:
        stop.wait()
        theirs.close()

    threading.Thread(target=tell, name="callboard-log-end", daemon=True).start()
    _watch_logs(log_file, [*pipes, ours], stop)
    # Told of the end, it reads no further; what a process said last, such as why it ended, is still in its pipe.
    _watch_logs(log_file, pipes, cast("threading.Event", _Emptied(pipes)))


class _Emptied:
    """Looks like the event of an end that has come when no pipe holds anything more."""

    def __init__(self, pipes: list[Any]) -> None:
        self._pipes = pipes

    def is_set(self) -> bool:
        return not wait([pipe for pipe in self._pipes if not pipe.closed], timeout=0)


# At import, so that it holds in spawned processes too, which import this module again.
vars(cli).update(time=SimpleNamespace(sleep=_sleep), watch_logs=_watch_logs_until_told)

if __name__ == "__main__":
    # What Dramatiq executes again at SIGHUP.
    sys.argv[0] = str(Path(dramatiq.__file__).with_name("__main__.py"))
    sys.exit(cli.main())
