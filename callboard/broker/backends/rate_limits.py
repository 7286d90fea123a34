"""Counters in Postgres for Dramatiq's rate limiters and barriers, kept by the database's clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dramatiq.rate_limits import RateLimiterBackend

from callboard.broker.backends.database import BackendDatabase
from callboard.broker.backends.polling import look_until
from callboard.broker.ending.effects import Arrival
from callboard.broker.running.delivery import Delivery
from callboard.broker.sending.row import TIME_MS_MAX
from callboard.db import Pool, sql


class PostgresRateLimits(RateLimiterBackend):
    """A rate limiter backend of Dramatiq's: for its rate limiters, for Barrier, and for GroupCallbacks(…).

    Without url or pool it works on the broker's database once it is part of its GroupCallbacks middleware. There, a
    message counts at its group's barrier in the transaction that ends it: once, whatever dies, and its callbacks
    are sent with the last one's. Every other call is a transaction of its own.
    """

    def __init__(self, *, url: str | Callable[[], str] | None = None, pool: Pool | None = None) -> None:
        self.attachment = BackendDatabase(type(self).__name__, url, pool)

    def add(self, key: str, value: int, ttl: int) -> bool:
        """Set a key for ttl ms unless it is there; return whether it was set."""
        return self._changes("add", key, ttl, value=value)

    def incr(self, key: str, amount: int, maximum: int, ttl: int) -> bool:
        """Raise a key unless it would pass maximum; return whether it was raised."""
        return self._changes("increment", key, ttl, amount=amount, maximum=maximum)

    def decr(self, key: str, amount: int, minimum: int, ttl: int) -> bool:
        """Lower a key unless it would fall below minimum; return whether it was lowered.

        For the message that this thread is about to end, at its own group's barrier, nothing is counted yet, and the
        answer is always that the barrier is reached: the callbacks that are sent then wait in the arrival.
        """
        delivery = self._member_of(key)
        if delivery is not None:
            delivery.arrival = Arrival(key, float(ttl))
            return False
        return self._changes("decrement", key, ttl, amount=amount, minimum=minimum)

    def incr_and_sum(
        self, key: str, keys: Callable[[], Iterable[str]] | Iterable[str], amount: int, maximum: int, ttl: int
    ) -> bool:
        """Raise a key unless the sum of keys would pass maximum; return whether it was raised."""
        with self.attachment.cursor() as cursor:
            # One lock a limiter: its keys are its name and a moment, and two moments' sums overlap.
            cursor.execute(sql("rate_limits/lock_sum"), {"name": key.rpartition("@")[0] or key})
            summed = list(keys() if callable(keys) else keys)
            parameters = {"key": key, "keys": summed, "amount": amount, "maximum": maximum, "ttl_ms": _ttl_ms(ttl)}
            cursor.execute(sql("rate_limits/increment_within_sum"), parameters)
            return cursor.fetchone() is not None

    def wait(self, key: str, timeout: int | None) -> bool:
        """Wait for a key's event, at most timeout ms; return whether it happened. No connection is held meanwhile."""
        return bool(look_until(lambda: self._find_event(key), None if timeout is None else timeout / 1000))

    def wait_notify(self, key: str, ttl: int) -> None:
        """Tell who waits for the key, now or within ttl ms."""
        delivery = self.attachment.finishing_delivery()
        if delivery is not None and delivery.arrival is not None and key == delivery.arrival.event_key:
            return  # The arrival tells it when it turns out to be the last one.
        with self.attachment.statement() as cursor:
            cursor.execute(sql("rate_limits/set_event"), {"key": key, "ttl_ms": _ttl_ms(ttl)})

    def _member_of(self, key: str) -> Delivery | None:
        delivery = self.attachment.finishing_delivery()
        return delivery if delivery is not None and delivery.options.get("group_completion_uuid") == key else None

    def _changes(self, verb: str, key: str, ttl: int, **parameters: Any) -> bool:
        with self.attachment.statement() as cursor:
            cursor.execute(sql(f"rate_limits/{verb}"), {"key": key, "ttl_ms": _ttl_ms(ttl), **parameters})
            return cursor.fetchone() is not None

    def _find_event(self, key: str) -> bool | None:
        with self.attachment.statement() as cursor:
            cursor.execute(sql("rate_limits/find_event"), {"key": key})
            return True if cursor.fetchone() is not None else None


def _ttl_ms(ttl: int) -> float:
    return float(min(ttl, TIME_MS_MAX))
