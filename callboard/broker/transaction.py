"""completion(): database effects that commit in the very transaction that ends the message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from callboard.broker.broker import PostgresBroker
from callboard.broker.default import default_broker
from callboard.broker.delivery import Delivery, current_delivery
from callboard.broker.stages import run_stages
from callboard.broker.verdict import Outcome, Verdict
from callboard.broker.verdict_writing import write_verdicts
from callboard.db import sql
from callboard.errors import CallboardError, DatabaseUnavailable, LeaseLost
from callboard.log import get_logger

log = get_logger(__name__)

#: Longest time the block may take, s.
COMPLETION_TIMEOUT_S = 60.0


@contextmanager
def completion() -> Iterator[Any]:
    """Lend a psycopg2 connection whose transaction also ends the running message.

    At the end of the block its effects, the messages of send_in() and the message's success are committed together,
    fenced by the lease: exactly once, whatever dies. Use it at most once an attempt, as the last step; an exception
    after it is logged and not retried. Outside of a worker it is a plain transaction.

    The next stage of a pipeline, callbacks and the stored result commit with it too. Where one of them needs what the
    actor returns, say it with set_result() inside the block.

    Raises: LeaseLost (nothing was written), DatabaseUnavailable (nothing was written, or it is retried safely).
    """
    delivery = current_delivery()
    if delivery is None or delivery.broker is None:
        with default_broker().pool.connection(COMPLETION_TIMEOUT_S) as connection:
            yield connection
        return
    if delivery.broker.worker is None:
        raise LeaseLost(f"The worker has ended and handed message {delivery.message_id} back. Nothing was written.")
    if delivery.is_ended or delivery.is_completing:
        raise CallboardError(
            f"Message {delivery.message_id} has ended already, or is about to in a completion() around this one. "
            "Use completion() once, as the last step."
        )
    was_interruptible = delivery.interruption.is_open
    delivery.is_completing = True
    try:
        yield from _completing(delivery.broker, delivery)
    finally:
        if was_interruptible:
            delivery.interruption.open()


def _completing(broker: PostgresBroker, delivery: Delivery) -> Iterator[Any]:
    """Lend the connection, then end the message; from there on nobody interrupts this thread."""
    try:
        with broker.pool.connection(COMPLETION_TIMEOUT_S) as connection:
            yield connection
            # Between the commit and its note here, an exception would give a message that is done another end.
            delivery.interruption.close()
            verdict = _end(broker, delivery, connection)
    except DatabaseUnavailable:
        if not _ended_after_all(broker, delivery):
            raise
        log.warning("commit was confirmed by looking; its answer was lost")
        verdict = _done(delivery)
    finally:
        # The actor goes on after the block; what it sends from now on is its own, and if it failed here, nothing of
        # its success may travel with the verdict of its failure.
        delivery.forget_effects()
        delivery.is_completing = False
    delivery.is_ended = True
    broker.emit_written([(verdict, Outcome.DONE)])


def _end(broker: PostgresBroker, delivery: Delivery, connection: Any) -> Verdict:
    """Write the end of the message, and what follows from it, into the open transaction."""
    if broker.worker is None:
        raise LeaseLost(f"The worker has ended and handed message {delivery.message_id} back. Nothing was written.")
    delivery.is_finishing = True
    run_stages(broker, delivery)
    verdict = _done(delivery)
    with connection.cursor() as cursor:
        if not write_verdicts(cursor, [verdict], broker.worker.worker_id):
            raise LeaseLost(
                f"Message {delivery.message_id} has passed to another worker. Nothing of this attempt was written."
            )
    return verdict


def _done(delivery: Delivery) -> Verdict:
    return delivery.verdict()._replace(outcome=Outcome.DONE, reason=None)


def _ended_after_all(broker: PostgresBroker, delivery: Delivery) -> bool:
    """Settle an unknown commit: wait for its transaction to finish, then look which way it went."""
    parameters = {"message_id": delivery.message_id, "lease_id": delivery.lease_id}
    with broker.pool.cursor() as cursor:
        cursor.execute(sql("queue/lock_row"), parameters)
        if cursor.fetchone() is not None:
            return False
        cursor.execute(sql("queue/find_ended"), parameters)
        return cursor.fetchone() is not None
