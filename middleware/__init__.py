"""What surrounds every message: one class a file, one order, written down here.

The imports are relative on purpose: a producer may have a middleware.py of its own, and callboard.app then
loads this package under another name.
"""

from __future__ import annotations

from collections.abc import Callable

from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    CurrentMessage,
    GroupCallbacks,
    Middleware,
    Pipelines,
    ShutdownNotifications,
)
from dramatiq.results import Results

from callboard.broker import PostgresRateLimits, PostgresResults

from .dead_letters import DeadLetters
from .log_context import LogContext
from .metrics import Metrics
from .retry_limits import RetryLimits
from .time_limits import TimeLimits
from .worker_boot import WorkerBoot, WorkerStart

__all__ = ["DeadLetters", "LogContext", "Metrics", "RetryLimits", "TimeLimits", "WorkerBoot", "WorkerStart", "stack"]


def stack(max_retries_of: Callable[[str], int], start: Callable[[], WorkerStart]) -> list[Middleware]:
    """Return the service's middleware, outermost first: before_* hooks run down the list, after_* hooks up.

    Both arguments are called at first use, because a producer builds this list too and must not read settings yet.
    """
    return [
        # Outermost, so that the lines of all others carry the message.
        LogContext(),
        Metrics(),
        WorkerBoot(start),
        # Looks at the verdict the ones below have set.
        DeadLetters(),
        # Dramatiq's own, but for the time limit, which holds.
        AgeLimit(),
        TimeLimits(),
        ShutdownNotifications(),
        CurrentMessage(),
        Results(backend=PostgresResults()),
        GroupCallbacks(PostgresRateLimits()),
        Callbacks(),
        Pipelines(),
        # Last: after_* hooks run upwards, and every other must see its verdict.
        RetryLimits(max_retries_of),
    ]
