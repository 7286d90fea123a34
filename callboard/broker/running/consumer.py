"""Dramatiq's side of a queue: takes acks and nacks; the messages themselves come from the intake."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dramatiq_pg.broker import PostgresConsumer as StockConsumer

from callboard.broker.running.delivery import Delivery

if TYPE_CHECKING:
    from callboard.broker.broker import PostgresBroker


class PostgresConsumer(StockConsumer):  # type: ignore[misc]
    """A consumer without connections of its own.

    Dramatiq runs a thread with one of these a queue. Ours only waits there: the intake hands claimed messages
    to the worker's threads, so that one budget and one order hold over all queues.
    """

    def __init__(self, broker: PostgresBroker, queue_name: str, timeout_ms: int) -> None:
        # The stock consumer's own state (connections, notifies, unlock queue) is not set up: nothing here uses it.
        self._broker = broker
        self.queue_name = queue_name
        self._timeout_s = timeout_ms / 1000

    def __next__(self) -> None:
        self._broker.wait_for_close(self._timeout_s)

    def ack(self, message: Any) -> None:
        """Take the snapshot of an attempt that no middleware failed; the verdict is written in a batch."""
        self._broker.finish(message)

    def nack(self, message: Any) -> None:
        """Leave the snapshot of an attempt that was failed to the broker, which takes it when it emits after_nack.

        Only those hooks store the exception for whoever waits for a result, and that is written with the verdict.
        """

    def requeue(self, messages: Iterable[Any]) -> None:
        """Hand back messages that have not started; that is not an attempt."""
        for message in messages:
            if isinstance(message, Delivery):
                self._broker.release(message)

    def close(self) -> None:
        """Do nothing: the broker owns the connections."""
