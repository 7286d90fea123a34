"""The message that the calling code runs for."""

from __future__ import annotations

from callboard.broker import context
from callboard.broker.running.delivery import Delivery


def running_delivery() -> Delivery | None:
    """Return the message this context belongs to, or None: also of one that has ended meanwhile."""
    delivery: Delivery | None = context.running()
    return delivery


def current_delivery() -> Delivery | None:
    """Return the message that the calling code runs for, or None outside of a worker.

    Tasks and asyncio.to_thread() of an async actor belong to its message too, also after it has ended.
    Raises: CallboardError in a worker process, in a thread of which nobody knows what it runs for.
    """
    delivery: Delivery | None = context.running(context.UNKNOWN)
    if delivery is context.UNKNOWN or context.is_fork():
        context.refuse_without_message("current_delivery()")
        return None
    return delivery
