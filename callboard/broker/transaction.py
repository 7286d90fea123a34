"""completion(): database effects that commit in the very transaction that ends the message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from callboard.broker.broker import PostgresBroker
from callboard.broker.completions import write_verdicts
from callboard.broker.default import default_broker
from callboard.broker.delivery import Delivery, current_delivery
from callboard.broker.verdict import Outcome
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

    Raises: LeaseLost (nothing was written), DatabaseUnavailable (nothing was written, or it is retried safely).
    """
    delivery = current_delivery()
    broker = default_broker()
    if delivery is None:
        with broker.pool.connection(COMPLETION_TIMEOUT_S) as connection:
            yield connection
        return
    if broker.worker is None:
        raise LeaseLost(f"The worker has ended and handed message {delivery.message_id} back. Nothing was written.")
    if delivery.is_ended:
        raise CallboardError(
            f"Message {delivery.message_id} has ended already. Use completion() once, as the last step."
        )
    verdict = replace(delivery.verdict(), outcome=Outcome.DONE, reason=None)
    try:
        with broker.pool.connection(COMPLETION_TIMEOUT_S) as connection:
            yield connection
            with connection.cursor() as cursor:
                if not write_verdicts(cursor, [verdict], broker.worker.worker_id):
                    raise LeaseLost(
                        f"Message {delivery.message_id} has passed to another worker. "
                        "Nothing of this attempt was written."
                    )
    except DatabaseUnavailable:
        if not _ended_after_all(broker, delivery):
            raise
        log.warning("commit was confirmed by looking; its answer was lost")
    delivery.is_ended = True
    broker.emit_written([(verdict, Outcome.DONE)])


def _ended_after_all(broker: PostgresBroker, delivery: Delivery) -> bool:
    """Settle an unknown commit: wait for its transaction to finish, then look which way it went."""
    parameters = {"message_id": delivery.message_id, "lease_id": delivery.lease_id}
    with broker.pool.cursor() as cursor:
        cursor.execute(sql("queue/lock_row"), parameters)
        if cursor.fetchone() is not None:
            return False
        cursor.execute(sql("queue/find_ended"), parameters)
        return cursor.fetchone() is not None
