"""completion() and set_result(): effects that commit in the very transaction that ends the message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from dramatiq.middleware import Callbacks, Pipelines
from dramatiq.results import Results

from callboard.broker.context import refuse_in_child, refuse_without_message, standing_in
from callboard.broker.ending.statements import write_verdicts
from callboard.broker.ending.verdict import Verdict
from callboard.broker.hooks import HookedBroker, is_stage
from callboard.broker.running.current import running_delivery
from callboard.broker.running.delivery import UNSET, Delivery
from callboard.broker.service_broker import default_broker
from callboard.db import sql
from callboard.errors import CallboardError, DatabaseUnavailable, LeaseLost
from callboard.log import get_logger
from callboard.terms import Outcome

log = get_logger(__name__)

#: Longest time the block may take, s.
COMPLETION_TIMEOUT_S = 60.0


@contextmanager
def completion() -> Iterator[Any]:
    """Lend a psycopg2 connection whose transaction also ends the running message.

    At the end of the block its effects, the messages of send_in() and the message's success are committed together,
    fenced by the lease: exactly once, whatever dies. Use it at most once an attempt, as the last step; an exception
    after it is logged and not retried. It works in an async actor, in its tasks and in asyncio.to_thread(), and in any
    other thread that is given the actor's context (contextvars.copy_context().run). Outside of worker processes it is a
    plain transaction. The connection's own commit() and autocommit raise in the block.

    The next stage of a pipeline, callbacks and the stored result commit with it too. Where one of them needs what the
    actor returns, say it with set_result() inside the block.

    Raises: LeaseLost (nothing was written), DatabaseUnavailable (nothing was written, or it is retried safely),
    CallboardError in a worker process where nothing ties the calling thread to a message.
    """
    delivery = running_delivery()
    if delivery is None or delivery.broker is None:
        refuse_without_message("completion()")
        with default_broker().pool.connection(COMPLETION_TIMEOUT_S) as connection, _unended(connection):
            yield connection
        return
    refuse_in_child("completion()")
    delivery.begin_completion()
    try:
        yield from _completing(cast("HookedBroker", delivery.broker), delivery)
    finally:
        delivery.is_completing = False
        delivery.interruption.let_in()


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


def _completing(broker: HookedBroker, delivery: Delivery) -> Iterator[Any]:
    """Lend the connection, then end the message; from there on nobody interrupts its actor."""
    ending: Delivery | None = None
    try:
        with broker.pool.connection(COMPLETION_TIMEOUT_S) as connection:
            with _unended(connection):
                yield connection
            # Between the commit and its note here, an exception would give a message that is done another end.
            delivery.interruption.hold_off()
            ending = delivery.ending()
            verdict = _end(broker, ending, connection)
    except DatabaseUnavailable:
        if ending is None or not _ended_after_all(broker, delivery):
            raise
        log.warning("commit was confirmed by looking; its answer was lost")
        verdict = _done(ending)
    delivery.is_ended = True
    broker.emit_written([(verdict, Outcome.DONE)])


@contextmanager
def _unended(connection: Any) -> Iterator[None]:
    """Let nobody end the transaction inside of the block: its effects would be there without the message's end."""
    connection.ended_by = "completion()"
    try:
        yield
    finally:
        connection.ended_by = None


def _end(broker: HookedBroker, ending: Delivery, connection: Any) -> Verdict:
    """Write the end of the message, and what follows from it, into the open transaction."""
    holder = ending.holder
    if holder is None or holder.is_closed:
        raise LeaseLost(f"The worker has ended and handed message {ending.message_id} back. Nothing was written.")
    with standing_in(ending):
        _run_stages(broker, ending)
    verdict = _done(ending)
    with connection.cursor() as cursor:
        if not write_verdicts(cursor, [verdict], holder.worker_id):
            raise LeaseLost(
                f"Message {ending.message_id} has passed to another worker. Nothing of this attempt was written."
            )
    return verdict


def _done(delivery: Delivery) -> Verdict:
    return delivery.verdict()._replace(outcome=Outcome.DONE, reason=None)


def _ended_after_all(broker: HookedBroker, delivery: Delivery) -> bool:
    """Settle an unknown commit: wait for its transaction to finish, then look which way it went."""
    parameters = {"message_id": delivery.message_id, "lease_id": delivery.lease_id}
    with broker.pool.cursor() as cursor:
        cursor.execute(sql("ending/lock_row"), parameters)
        if cursor.fetchone() is not None:
            return False
        cursor.execute(sql("ending/find_ended"), parameters)
        return cursor.fetchone() is not None


def _run_stages(broker: HookedBroker, delivery: Delivery) -> None:
    """Let the stages of a message send and store what follows from its success.

    Unlike elsewhere their exceptions are raised: the transaction is still open, and nothing of it is written then.
    Raises: CallboardError when a stage needs the result and set_result() was not called.
    """
    result = delivery.early_result
    if result is UNSET:
        if _needs_result(broker, delivery):
            raise CallboardError(
                f"Message {delivery.message_id} of actor {delivery.actor_name!r} stores its result or hands it on, and "
                "completion() ends it before the actor returns. Call callboard.set_result(value) inside the block."
            )
        result = None
    for hook in broker.hooks_after_success():
        if is_stage(hook):
            hook(broker, delivery, result=result, exception=None)


def _needs_result(broker: HookedBroker, delivery: Delivery) -> bool:
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
