"""How a broker calls its middleware: only the hooks that one has, and a fault in one is logged, not raised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import dramatiq_pg
from dramatiq import Message
from dramatiq.middleware import Callbacks, GroupCallbacks, Middleware, MiddlewareError, Pipelines, Retries
from dramatiq.results import Results

from callboard.broker.backends.database import BackendDatabase
from callboard.broker.ending.verdict import Verdict
from callboard.broker.failures.causes import count_as_ours
from callboard.broker.running.async_actors import with_shared_loop
from callboard.broker.running.delivery import Delivery
from callboard.db import Pool
from callboard.log import get_logger
from callboard.terms import Outcome

log = get_logger(__name__)

_Hook = TypeVar("_Hook", bound=Callable[..., None])

#: Middleware whose hooks decide about a message, or send and store what follows from its end.
STAGES = (Pipelines, Callbacks, GroupCallbacks, Results, Retries)
#: Signals whose hooks decide about a message and send what follows from its end.
ENDING_SIGNALS = ("process_message", "skip_message", "nack")
#: Hooks that look at nothing but their message's options: of a message without any, a call is 2 us for nothing.
OPTION_HOOKS = (Pipelines.after_process_message, GroupCallbacks.after_process_message)


class HookedBroker(dramatiq_pg.PostgresBroker):  # type: ignore[misc]
    """dramatiq-pg's broker with hooks that cost nothing where nobody wants them."""

    def __init__(self, *, pool: Pool, middleware: Sequence[Middleware]) -> None:
        self._hooks: dict[str, list[Callable[..., None]]] = {}
        # Before the stock class sets it: backends take it over while their middleware is added.
        self.pool = pool
        super().__init__(pool=pool, results=False, middleware=middleware)

    def declare_actor(self, actor: Any) -> None:
        super().declare_actor(actor)
        count_as_ours(getattr(actor.fn, "__module__", None) or "")

    def add_middleware(self, middleware: Middleware, **place: type[Middleware]) -> None:
        self._hooks.clear()
        super().add_middleware(middleware, **place)
        for backend in (getattr(middleware, "backend", None), getattr(middleware, "rate_limiter_backend", None)):
            if isinstance(attachment := getattr(backend, "attachment", None), BackendDatabase):
                attachment.attach(self.pool)

    def remove_middleware_of(self, worker: Any) -> None:
        """Forget the middleware that a Worker adds for itself: it would consume queues that are declared later."""
        is_its = [type(own).__module__ == "dramatiq.worker" and own.worker is worker for own in self.middleware]
        self.middleware[:] = [own for own, is_one in zip(self.middleware, is_its, strict=True) if not is_one]
        self._hooks.clear()

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        for hook in self._hooks_of(f"before_{signal}"):
            try:
                hook(self, *args, **kwargs)
            except MiddlewareError:
                raise
            except Exception:
                log.exception("middleware failed", hook=f"before_{signal}", middleware=_owner(hook))

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        was_completed = signal in ENDING_SIGNALS and isinstance(args[0], Delivery) and args[0].is_ended
        hooks = self._hooks_of(f"after_{signal}")
        if signal == "process_message" and not args[0].options:
            hooks = self._hooks_without_options(hooks)
        for hook in reversed(hooks):
            if was_completed and is_stage(hook):
                continue  # What follows from its end was written with it.
            try:
                hook(self, *args, **kwargs)
            except Exception:
                log.exception("middleware failed", hook=f"after_{signal}", middleware=_owner(hook))

    def emit_written(self, written: Sequence[tuple[Verdict, Outcome]]) -> None:
        """Tell middleware which verdicts the database has, by its hook after_verdicts(broker, [(verdict, outcome)])."""
        self.emit_after("verdicts", written)
        for verdict, outcome in written:
            if verdict.arrival is not None and verdict.arrival.completes_group and outcome is not Outcome.LOST:
                for _, message, delay in verdict.arrival.callbacks:
                    self.emit_after("enqueue", message, delay)

    def emit_enqueued(self, messages: Sequence[Any], delay: int | None) -> None:
        """Tell middleware that many messages are stored.

        All at once by its hook after_enqueue_many(broker, messages, delay) where it has that beside after_enqueue, else
        message by message.
        """
        for hook in reversed(self._hooks_of("after_enqueue")):
            at_once = getattr(getattr(hook, "__self__", None), "after_enqueue_many", None)
            for call, told in [(at_once, messages)] if at_once else [(hook, message) for message in messages]:
                try:
                    call(self, told, delay)
                except Exception:
                    log.exception("middleware failed", hook="after_enqueue", middleware=_owner(hook))

    def emit_rescued(self, queue_name: str, actor_name: str, outcome: str, cause: str) -> None:
        """Tell middleware that this process, leading, took back a message that another one lost."""
        self.emit_after("rescue", queue_name, actor_name, outcome, cause)

    def emit_scheduled(self, moment: str, message: Message[Any]) -> None:
        """Tell middleware that this process, leading, sends a schedule's message: "before" it is stored, or after."""
        emit = self.emit_before if moment == "before" else self.emit_after
        emit("enqueue", message, None)

    def has_hooks(self, name: str) -> bool:
        """Tell whether any middleware does something at this moment, such as "before_enqueue"."""
        return bool(self._hooks_of(name))

    def hooks_after_success(self) -> list[Callable[..., None]]:
        """Return the hooks that run after an actor, in their order."""
        return self._hooks_of("after_process_message")[::-1]

    def _hooks_without_options(self, hooks: list[Callable[..., None]]) -> list[Callable[..., None]]:
        """Return the hooks after an actor that a message without options needs."""
        name = "after_process_message without options"
        if name not in self._hooks:
            self._hooks[name] = [hook for hook in hooks if getattr(hook, "__func__", None) not in OPTION_HOOKS]
        return self._hooks[name]

    def _hooks_of(self, name: str) -> list[Callable[..., None]]:
        """Return the middleware's own hooks of a signal, in order.

        Most middleware leave most hooks as they are, and calling those costs more than the rest of a short message.
        """
        hooks = self._hooks.get(name)
        if hooks is None:
            empty = getattr(Middleware, name, None)
            hooks = [
                getattr(middleware, name)
                for middleware in self.middleware
                if hasattr(middleware, name)
                and getattr(type(middleware), name, None) is not empty
                and not getattr(getattr(middleware, name), "is_for_other_brokers", False)
            ]
            hooks = [with_shared_loop(hook) for hook in hooks]
            self._hooks[name] = hooks
        return hooks


def is_stage(hook: Callable[..., None]) -> bool:
    """Tell whether a hook must not run again, or at all, for a message that completion() has ended."""
    return isinstance(getattr(hook, "__self__", None), STAGES)


def for_other_brokers(hook: _Hook) -> _Hook:
    """Mark a middleware's hook that does nothing where this broker is: it is not called here."""
    hook.is_for_other_brokers = True  # type: ignore[attr-defined]
    return hook


def _owner(hook: Callable[..., None]) -> str:
    return type(getattr(hook, "__self__", hook)).__name__
