"""Actors that other threads can stop while they run, and at no other moment."""

from __future__ import annotations

from functools import wraps
from typing import Any

from callboard.broker.running.async_actors import coroutine_function, waiting
from callboard.broker.running.current import running_delivery
from callboard.errors import Cancelled


def make_interruptible(actor: Any) -> None:
    """Let the messages of an actor open and close the way into it; its own function stays as it is."""
    own = actor.fn
    if getattr(own, "is_interruptible", False):
        return
    function = coroutine_function(own)
    call = own if function is None else waiting(function)

    @wraps(own)
    def run(*args: Any, **kwargs: Any) -> Any:
        delivery = running_delivery()
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
