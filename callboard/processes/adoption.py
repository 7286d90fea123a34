"""Children that are not ours: whose parent has died they are given to process 1, which must reap them."""

from __future__ import annotations

import os
from collections.abc import Collection

INIT_PID = 1


def reap_adopted(own_pids: Collection[int]) -> list[int]:
    """Reap what has ended, but for our own children, whose ends their supervisor sees; return whom.

    Only as process 1, as a container's command is: elsewhere nobody is given to us.
    """
    reaped: list[int] = []
    while os.getpid() == INIT_PID:
        try:
            # Looked at, and left as it is: whose code somebody waits for is not ours to take.
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            break
        # One of ours hides those behind it until it is seen at the next look.
        if ended is None or ended.si_pid in own_pids:
            break
        os.waitpid(ended.si_pid, os.WNOHANG)
        reaped.append(ended.si_pid)
    return reaped
