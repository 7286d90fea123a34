"""Parts of a pool, so that no kind of work can take the connections that another one needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from callboard.db.connections.pool import CALL_TIMEOUT_S, Pool
from callboard.errors import DatabaseUnavailable


@dataclass(frozen=True)
class Part:
    """How many connections are kept for a kind of work, and how many it may hold while the others leave some."""

    reserved: int
    most: int


class Shares:
    """A pool of `size` connections in parts; what no part has reserved is for whoever comes first."""

    def __init__(self, pool: Pool, size: int, parts: Mapping[str, Part]) -> None:
        self._common = size - sum(part.reserved for part in parts.values())
        if self._common < 0:
            raise ValueError(f"The parts reserve {size - self._common} connections, and the pool has {size}.")
        self._parts = dict(parts)
        self._held = dict.fromkeys(parts, 0)
        self._changed = threading.Condition()
        self._pool = pool

    def part(self, name: str) -> Share:
        """Return the part of a kind of work."""
        return Share(self, name)

    def take(self, name: str, timeout_s: float) -> None:
        """Count one more connection of a part. Raises: DatabaseUnavailable when none came free."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._may_take(name), timeout_s):
                raise DatabaseUnavailable(
                    f"All database connections of this process for {name} were busy for {timeout_s:g} s."
                )
            self._held[name] += 1

    def give_back(self, name: str) -> None:
        """Count one connection of a part less."""
        with self._changed:
            self._held[name] -= 1
            self._changed.notify_all()

    def _may_take(self, name: str) -> bool:
        part, held = self._parts[name], self._held[name]
        if held < part.reserved:
            return True
        beyond = sum(max(self._held[other] - self._parts[other].reserved, 0) for other in self._parts)
        return held < part.most and beyond < self._common

    @contextmanager
    def connection(self, name: str, timeout_s: float) -> Iterator[Any]:
        until = time.monotonic() + timeout_s
        self.take(name, timeout_s)
        try:
            with self._pool.connection(max(until - time.monotonic(), 0.05)) as connection:
                yield connection
        finally:
            self.give_back(name)


class Share:
    """What one kind of work sees of the pool."""

    def __init__(self, shares: Shares, name: str) -> None:
        self._shares, self._name = shares, name

    @contextmanager
    def connection(self, timeout_s: float = CALL_TIMEOUT_S) -> Iterator[Any]:
        """Lend a connection inside a transaction, as the pool does; timeout_s bounds the whole block.

        Raises: DatabaseUnavailable when none came free in time, or the connection was lost.
        """
        with self._shares.connection(self._name, timeout_s) as connection:
            yield connection

    @contextmanager
    def cursor(self, timeout_s: float = CALL_TIMEOUT_S) -> Iterator[Any]:
        """Lend a cursor inside a transaction; see connection()."""
        with self.connection(timeout_s) as connection, connection.cursor() as cursor:
            yield cursor
