"""Poolers of each kind in front of a fresh database whose defaults are not ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from callboard.broker import BrokerOptions, PostgresBroker, set_default_broker
from callboard.broker import service_broker as default
from middleware.dead_letters import DeadLetters
from middleware.retry_limits import RetryLimits
from tests.poolers import IGNORES_OPTIONS, Pooler, pooled

#: How others run PgBouncer: at its defaults, told to pass over options in silence, with one session for all.
KINDS = {
    "at its defaults": {},
    "ignoring options": IGNORES_OPTIONS,
    "with one session": {"default_pool_size": "1"},
    # As Supabase's pooler on port 6543 behaves: sessions are handed on after each transaction, bare.
    "resetting sessions": {**IGNORES_OPTIONS, "server_reset_query_always": "1", "server_round_robin": "1"},
}
FOREIGN_DEFAULTS = {
    "default_transaction_isolation": "repeatable read",
    "timezone": "Europe/Moscow",
    "datestyle": "German",
    "lock_timeout": "1ms",
    "array_nulls": "off",
}


@pytest.fixture
def db(database_url: str) -> Iterator[Any]:
    """Run a statement straight in the database and return its rows."""
    with contextlib.closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True

        def query(statement: str, *parameters: Any) -> list[Any]:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []

        yield query


@pytest.fixture
def foreign_defaults(db: Any) -> None:
    """Let the database have defaults that somebody else chose."""
    [(name,)] = db("SELECT current_database()")
    for setting, value in FOREIGN_DEFAULTS.items():
        db(f"ALTER DATABASE \"{name}\" SET {setting} = '{value}'")


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def pooler(request: pytest.FixtureRequest, database_url: str, foreign_defaults: None) -> Iterator[Pooler]:
    """A pooler in transaction mode."""
    with pooled(database_url, **request.param) as lent:
        yield lent


@pytest.fixture
def make_pooled_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., PostgresBroker]]:
    """Make brokers that poll, as QUEUE_LISTEN=off asks for; the first is the default one."""
    with contextlib.ExitStack() as stack:
        monkeypatch.setattr(default, "_default_broker", None)

        def make(url: str, *, listens: bool = False) -> PostgresBroker:
            broker = PostgresBroker(
                url=url,
                middleware=[DeadLetters(), RetryLimits(lambda _queue: 2, min_backoff=10, max_backoff=10)],
                options=BrokerOptions(listens=listens, poll_interval_s=0.2),
            )
            stack.callback(broker.close)
            if default._default_broker is None:
                set_default_broker(broker)
            return broker

        yield make
