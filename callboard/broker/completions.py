"""completion(): database effects that commit in the very transaction that ends the message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from callboard.broker.broker import PostgresBroker
from callboard.broker.context import refuse_in_child, refuse_without_message, running_delivery, standing_in
from callboard.broker.ending.statements import write_verdicts
from callboard.broker.ending.verdict import Outcome, Verdict
from callboard.broker.running.delivery import Delivery
from callboard.broker.service_broker import default_broker
from callboard.broker.stages import run_stages
from callboard.db import sql
from callboard.errors import DatabaseUnavailable, LeaseLost
from callboard.log import get_logger

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
        yield from _completing(delivery.broker, delivery)
    finally:
        delivery.is_completing = False
        delivery.interruption.let_in()


def _completing(broker: PostgresBroker, delivery: Delivery) -> Iterator[Any]:
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


def _end(broker: PostgresBroker, ending: Delivery, connection: Any) -> Verdict:
    """Write the end of the message, and what follows from it, into the open transaction."""
    side = ending.side
    if side is None or side.is_closed:
        raise LeaseLost(f"The worker has ended and handed message {ending.message_id} back. Nothing was written.")
    with standing_in(ending):
        run_stages(broker, ending)
    verdict = _done(ending)
    with connection.cursor() as cursor:
        if not write_verdicts(cursor, [verdict], side.worker_id):
            raise LeaseLost(
                f"Message {ending.message_id} has passed to another worker. Nothing of this attempt was written."
            )
    return verdict


def _done(delivery: Delivery) -> Verdict:
    return delivery.verdict()._replace(outcome=Outcome.DONE, reason=None)


def _ended_after_all(broker: PostgresBroker, delivery: Delivery) -> bool:
    """Settle an unknown commit: wait for its transaction to finish, then look which way it went."""
    parameters = {"message_id": delivery.message_id, "lease_id": delivery.lease_id}
    with broker.pool.cursor() as cursor:
        cursor.execute(sql("ending/lock_row"), parameters)
        if cursor.fetchone() is not None:
            return False
        cursor.execute(sql("ending/find_ended"), parameters)
        return cursor.fetchone() is not None
