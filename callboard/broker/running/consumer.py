"""Dramatiq's side of a queue: takes acks and nacks; the messages themselves come from the intake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dramatiq_pg.broker import PostgresConsumer as StockConsumer

from callboard.broker.context import set_current_delivery
from callboard.broker.running.delivery import Delivery


def finish(message: Any) -> None:
    """Give the verdict of a message that this thread ran."""
    set_current_delivery(None)
    if isinstance(message, Delivery) and message.holder is not None:
        message.holder.finish(message)


class PostgresConsumer(StockConsumer):  # type: ignore[misc]
    """A consumer without connections of its own.

    Dramatiq runs a thread with one of these a queue. Ours only waits there: the intake hands claimed messages
    to the worker's threads, so that one budget and one order hold over all queues.
    """

    def __init__(self, queue_name: str, timeout_ms: int, wait: Callable[[float], object]) -> None:
        # The stock consumer's own state (connections, notifies, unlock queue) is not set up: nothing here uses it.
        self.queue_name = queue_name
        self._timeout_s = timeout_ms / 1000
        self._wait = wait

    def __next__(self) -> None:
        self._wait(self._timeout_s)

    def ack(self, message: Any) -> None:
        """Take the snapshot of an attempt that no middleware failed; the verdict is written in a batch."""
        finish(message)

    def nack(self, message: Any) -> None:
        """Leave the snapshot of an attempt that was failed to the broker, which takes it when it emits after_nack.

        Only those hooks store the exception for whoever waits for a result, and that is written with the verdict.
        """

    def requeue(self, messages: Iterable[Any]) -> None:
        """Hand back messages that have not started; that is not an attempt."""
        for message in messages:
            if isinstance(message, Delivery) and message.holder is not None:
                message.holder.release(message)

    def close(self) -> None:
        """Do nothing: the broker owns the connections."""
