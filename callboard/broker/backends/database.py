"""Which database a result or rate-limiter backend works on: its own, or that of the broker it is given to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from callboard.broker.running.current import running_delivery
from callboard.broker.running.delivery import Delivery
from callboard.db import Pool, schema
from callboard.errors import ConfigurationError


class BackendDatabase:
    """The pool of a backend.

    Without url and pool the backend takes over the pool of the broker whose middleware it comes with.
    """

    def __init__(self, owner: str, url: str | Callable[[], str] | None, pool: Pool | None) -> None:
        if url is not None and pool is not None:
            raise ConfigurationError(f"{owner} got both url and pool. Give one, or neither to use the broker's.")
        self._owner = owner
        self._pool = Pool(url) if url is not None else pool

    def attach(self, pool: Pool) -> None:
        """Use this pool unless one was given or taken over before."""
        self._pool = self._pool or pool

    @property
    def pool(self) -> Pool:
        if self._pool is None:
            raise ConfigurationError(
                f"{self._owner} knows no database. Give it url=…, or add it to a PostgresBroker with its middleware."
            )
        return self._pool

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """Lend a cursor inside a transaction. Raises: SchemaOutdated, DatabaseUnavailable."""
        with schema.expected(), self.pool.cursor() as cursor:
            yield cursor

    @contextmanager
    def statement(self) -> Iterator[Any]:
        """Lend a cursor for one statement, in one round trip. Raises: SchemaOutdated, DatabaseUnavailable."""
        with schema.expected(), self.pool.statement() as cursor:
            yield cursor

    def finishing_delivery(self) -> Delivery | None:
        """Return the message whose verdict this thread is about to give, if that is written to the same database."""
        delivery = running_delivery()
        if delivery is None or delivery.broker is None or not delivery.takes_effects:
            return None
        pool = delivery.broker.pool
        return delivery if pool is self.pool or pool.url == self.pool.url else None
