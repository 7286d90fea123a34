"""Sending without an actor's .send(): in the caller's transaction, or many at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dramatiq import Message

from callboard.broker.default import default_broker


def send_in(connection: Any, *messages: Message[Any]) -> None:
    """Store messages in the caller's transaction, so that they exist exactly if it commits.

    connection may be psycopg2's, psycopg 3's, Django's, or a SQLAlchemy connection or session.
    Build messages with some_actor.message(...). Raises: InvalidMessage.
    """
    default_broker().send_in(connection, *messages)


def send_many(messages: Iterable[Message[Any]]) -> list[Message[Any]]:
    """Store many messages in one transaction and return them; all are stored or none.

    Raises: InvalidMessage, DatabaseUnavailable.
    """
    broker, batch = default_broker(), list(messages)
    with broker.pool.connection(60) as connection:
        broker.send_in(connection, *batch)
    return batch
