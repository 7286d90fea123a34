"""Commands on a fresh database, and the jobs they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.processes import START_TIMEOUT_S, Commands, Jobs, commands
from tests.conftest import wait_until


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Iterator[Commands]:
    """Commands whose DATABASE_URL is the fresh database."""
    with commands(tmp_path / "commands", DATABASE_URL=database_url) as lent:
        yield lent


@pytest.fixture
def jobs(tmp_path: Path, database_url: str) -> Iterator[Jobs]:
    jobs = Jobs(database_url, tmp_path / "jobs")
    yield jobs
    jobs.close()


@pytest.fixture
def db(connection: Any) -> Callable[..., list[Any]]:
    """Run a statement and return its rows."""

    def query(statement: str, *parameters: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    return query


@pytest.fixture
def wait_for_workers(db: Callable[..., list[Any]]) -> Callable[[int], set[int]]:
    """Wait until so many worker processes are registered, and return their process ids."""

    def wait(count: int) -> set[int]:
        def look() -> list[Any]:
            rows = db("SELECT pid FROM callboard.workers")
            return rows if len(rows) == count else []

        return {pid for (pid,) in wait_until(look, START_TIMEOUT_S, f"{count} worker processes")}

    return wait


@pytest.fixture
def wait_until_done(db: Callable[..., list[Any]]) -> Callable[[int], None]:
    """Wait until so many messages are done."""
    statement = "SELECT count(*) FROM callboard.message_history WHERE outcome = 'done'"
    return lambda count: wait_until(lambda: db(statement) == [(count,)], START_TIMEOUT_S, f"{count} messages done")
