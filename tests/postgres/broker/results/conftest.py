"""A broker whose actors store what they return."""

from __future__ import annotations

import dramatiq
import pytest
from dramatiq.results import Results

from callboard.broker import PostgresResults
from tests.postgres.broker.conftest import make_broker


@pytest.fixture
def backend():
    return PostgresResults()


@pytest.fixture
def broker(url, backend):
    broker = make_broker(url, Results(backend=backend))
    yield broker
    broker.close()


@pytest.fixture
def actor(broker):
    return lambda fn, name="job", **options: dramatiq.actor(
        fn, actor_name=name, broker=broker, queue_name="jobs", **{"store_results": True, **options}
    )
