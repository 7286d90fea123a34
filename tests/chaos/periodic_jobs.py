"""A schedule with a slot a second, run by real workers: `dramatiq tests.chaos.periodic_jobs`."""

from __future__ import annotations

import time

import actors  # noqa: F401 - names the broker that Dramatiq looks up
from callboard import schedule
from callboard.app import actor


@schedule("each-second", cron="* * * * * *", kwargs={"run_s": 0.2})
@actor(queue_name="periodic", max_retries=20)
def tick(run_s: float) -> None:
    """Take a moment, so that a kill may come in the middle."""
    time.sleep(run_s)
