"""What follows an actor's success, run early: completion() ends a message before its actor returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dramatiq.middleware import Callbacks, GroupCallbacks, Pipelines, Retries
from dramatiq.results import Results

from callboard.broker.context import refuse_in_child, refuse_without_message, running_delivery
from callboard.broker.running.delivery import UNSET, Delivery
from callboard.errors import CallboardError

if TYPE_CHECKING:
    from callboard.broker.broker import PostgresBroker

#: Middleware whose hooks decide about a message or send and store what follows from its end.
STAGES = (Pipelines, Callbacks, GroupCallbacks, Results, Retries)


def set_result(result: Any) -> None:
    """Say inside a completion() block what the actor is going to return.

    The next stage of a pipeline, the on_success actor and the stored result then get it in the transaction that
    completion() commits. Outside of a worker it does nothing. Raises: CallboardError where completion() does.
    """
    delivery = running_delivery()
    if delivery is None:
        refuse_without_message("set_result()")
        return
    refuse_in_child("set_result()")
    delivery.early_result = result


def is_stage(hook: Callable[..., None]) -> bool:
    """Tell whether a hook must not run again, or at all, for a message that completion() has ended."""
    return isinstance(getattr(hook, "__self__", None), STAGES)


def run_stages(broker: PostgresBroker, delivery: Delivery) -> None:
    """Let the stages of a message send and store what follows from its success.

    Unlike elsewhere their exceptions are raised: the transaction is still open, and nothing of it is written then.
    Raises: CallboardError when a stage needs the result and set_result() was not called.
    """
    result = delivery.early_result
    if result is UNSET:
        if needs_result(broker, delivery):
            raise CallboardError(
                f"Message {delivery.message_id} of actor {delivery.actor_name!r} stores its result or hands it on, and "
                "completion() ends it before the actor returns. Call callboard.set_result(value) inside the block."
            )
        result = None
    for hook in broker.hooks_after_success():
        if is_stage(hook):
            hook(broker, delivery, result=result, exception=None)


def needs_result(broker: PostgresBroker, delivery: Delivery) -> bool:
    """Tell whether anything that follows wants to know what the actor returns."""
    actor = broker.get_actor(delivery.actor_name)
    options = {**actor.options, **delivery.options}
    next_stage = delivery.options.get("pipe_target")
    for middleware in broker.middleware:
        match middleware:
            case Pipelines() if next_stage is not None:
                if not (next_stage.get("options", {}).get("pipe_ignore") or actor.options.get("pipe_ignore")):
                    return True
            case Callbacks() if options.get("on_success"):
                return True
            case Results() if options.get("store_results", middleware.store_results):
                return True
    return False
