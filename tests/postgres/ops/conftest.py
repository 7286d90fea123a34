"""A transaction on each kind of server that is never committed, and rows in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from tests.postgres.ops.scene import Scene


@pytest.fixture
def cursor(each_database_url: str) -> Iterator[Any]:
    connection = psycopg2.connect(each_database_url, options="-c timezone=UTC")
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


@pytest.fixture
def scene(cursor: Any) -> Scene:
    return Scene(cursor)
