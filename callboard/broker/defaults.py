"""What a broker is made of where its maker says nothing, and what of dramatiq-pg's options cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dramatiq.middleware import Middleware
from dramatiq.middleware import default_middleware as dramatiqs_default

from callboard.db import Pool
from callboard.errors import ConfigurationError


def default_middleware() -> list[Middleware]:
    """Return Dramatiq's default list without Prometheus.

    Dramatiq 1.18 has it there, and it binds port 9191 and writes files under /tmp in every process that makes a
    broker's worker; from 2.0 on it is an option, as it is here: add it by hand where you want it.
    """
    return [middleware() for middleware in dramatiqs_default if middleware.__name__ != "Prometheus"]


def refuse_stock_options(*, url: str | Callable[[], str], pool: Any, schema: str | None, prefix: str | None) -> None:
    """Raise ConfigurationError for what dramatiq-pg's broker takes and ours cannot do."""
    problems = []
    if schema not in (None, "dramatiq"):
        problems.append(f"schema={schema!r} cannot be had: the queue is dramatiq.queue. Leave schema out.")
    if prefix not in (None, ""):
        problems.append(f"prefix={prefix!r} cannot be had: the queue is dramatiq.queue. Leave prefix out.")
    if pool is not None and not isinstance(pool, Pool):
        problems.append(
            f"pool is a {type(pool).__module__}.{type(pool).__name__}, which knows no deadlines. Give url=… or a "
            "callboard.db.Pool(url, size=…)."
        )
    if pool is None and not url:
        problems.append("Neither url nor pool is given. Give url='postgresql://…', or a function that returns one.")
    if problems:
        raise ConfigurationError(*problems)
