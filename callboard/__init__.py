"""Background jobs for product teams: Dramatiq actors on a Postgres broker.

send_in(connection, *messages), send_many(messages), completion() with set_result() and schedule() are the whole
Python interface besides the actors themselves. They load on first use, so that importing callboard costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callboard.version import VERSION

if TYPE_CHECKING:
    from callboard.broker import completion, schedule, send_in, send_many, set_result

__version__ = VERSION
__all__ = ["completion", "schedule", "send_in", "send_many", "set_result"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'callboard' has no attribute {name!r}")
    from callboard import broker

    return getattr(broker, name)
