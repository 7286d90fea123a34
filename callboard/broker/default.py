"""The broker of the service, for senders that hold no actor in hand."""

from __future__ import annotations

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
