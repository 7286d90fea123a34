"""Actors that other threads can stop while they run, and at no other moment."""

from __future__ import annotations

from functools import wraps
from typing import Any

from callboard.broker.delivery import current_delivery
from callboard.errors import Cancelled


def make_interruptible(actor: Any) -> None:
    """Let the messages of an actor open and close the way into it; its own function stays as it is."""
    call = actor.fn
    if getattr(call, "is_interruptible", False):
        return

    @wraps(call)
    def run(*args: Any, **kwargs: Any) -> Any:
        delivery = current_delivery()
        # An actor may call another one: that is still the one message.
        if delivery is None or delivery.interruption.is_open:
            return call(*args, **kwargs)
        try:
            delivery.interruption.open()
            if delivery.is_cancelled:
                raise Cancelled
            return call(*args, **kwargs)
        finally:
            delivery.interruption.close()

    run.is_interruptible = True  # type: ignore[attr-defined]
    actor.fn = run
