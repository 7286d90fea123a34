"""A broker on a fresh database of each kind of server, and workers in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import psycopg2
import pytest
from dramatiq.middleware import AgeLimit, Callbacks, Middleware, Pipelines

from callboard.broker import PostgresBroker, set_default_broker
from callboard.broker import service_broker as default
from middleware.dead_letters import DeadLetters
from middleware.retry_limits import RetryLimits


@pytest.fixture
def url(each_database_url: str) -> str:
    return each_database_url


@pytest.fixture
def db(url: str) -> Iterator[Any]:
    """Run a statement and return its rows, on a connection of its own."""
    connection = psycopg2.connect(url)
    connection.autocommit = True

    def query(statement: str, *parameters: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    yield query
    connection.close()


def make_broker(url: str, *more: Middleware) -> PostgresBroker:
    middleware = [
        *more,
        DeadLetters(),
        AgeLimit(),
        Callbacks(),
        Pipelines(),
        RetryLimits(lambda _queue: 2, min_backoff=10, max_backoff=10),
    ]
    return PostgresBroker(url=url, middleware=middleware)


@pytest.fixture
def broker(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresBroker]:
    broker = make_broker(url)
    monkeypatch.setattr(default, "_default_broker", None)
    set_default_broker(broker)
    yield broker
    broker.close()


@contextlib.contextmanager
def running_worker(broker: PostgresBroker, threads: int = 2) -> Iterator[dramatiq.Worker]:
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=threads)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(timeout=2000)


@pytest.fixture
def work(broker: PostgresBroker) -> Callable[[], Any]:
    """Run a worker of the broker while the block runs."""
    return lambda threads=2: running_worker(broker, threads)
