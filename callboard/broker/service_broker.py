"""The broker of the service, and sending through it without an actor's .send()."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dramatiq import Message

from callboard.broker.broker import PostgresBroker
from callboard.errors import CallboardError

_default_broker: PostgresBroker | None = None


def set_default_broker(broker: PostgresBroker) -> None:
    """Name the broker that send_in, send_many and completion use outside of a worker."""
    global _default_broker
    _default_broker = broker


def default_broker() -> PostgresBroker:
    """Return the service's broker. Raises: CallboardError where none was made."""
    if _default_broker is None:
        raise CallboardError(
            "No broker is set up yet. Import the actors before you send: from actors import send_email"
        )
    return _default_broker


def send_in(connection: Any, *messages: Message[Any], delay: int | None = None) -> list[Message[Any]]:
    """Store messages in the caller's transaction, to run after delay ms; they exist exactly if it commits.

    connection may be psycopg2's, psycopg 3's, Django's, or a SQLAlchemy connection or session.
    Build messages with some_actor.message(...). Returns them; one whose dedupe_key is taken, with the holder's id.
    An open transaction with the same dedupe_key is waited for, 2 s at most.
    Raises: InvalidMessage; BrokerUnavailable after that wait. Under REPEATABLE READ, a key that was taken after the
    transaction's first look is Postgres's own serialization failure: run the transaction again.
    """
    return default_broker().send_in(connection, *messages, delay=delay)


def send_many(messages: Iterable[Message[Any]], *, delay: int | None = None) -> list[Message[Any]]:
    """Store many messages in one transaction, to run after delay ms; all are stored or none.

    messages may be a generator. Returns them; one whose dedupe_key is taken, with the holder's id.
    Raises: InvalidMessage, BrokerUnavailable (with the list of messages; sending that again is safe).
    """
    return default_broker().send_many(messages, delay=delay)
