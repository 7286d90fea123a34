"""What every test may ask for: a real Postgres, a fresh migrated database, waiting without sleeping."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

# Imported before any test replaces the service's broker, so that what is put back afterwards is that one.
import actors  # noqa: F401
import callboard.app
from callboard.broker import service_broker
from callboard.broker.schedules.declaration import declared_on
from callboard.db import Pool, schema
from callboard.dev.postgres import Server
from callboard.dev.temporary_postgres import temporary_server

# Started in the background by a shell, this process ignores Ctrl-C, and so would the programs that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

SYSTEM_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_numbers = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", choices=("short", "long"), default="short", help="form of the tests in tests/chaos")


def wait_until(condition: Callable[[], Any], timeout_s: float = 10, what: str = "the condition") -> Any:
    """Return the first true value of condition(), or fail after timeout_s."""
    until = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > until:
            pytest.fail(f"{what} did not come true within {timeout_s} s")
        time.sleep(0.02)
    return value


def is_running(pid: int) -> bool:
    """Tell whether a process is there and has not ended: one that its parent has not reaped yet has."""
    said = subprocess.run(["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True, check=False).stdout
    return bool(said.strip()) and not said.strip().startswith("Z")


def pause_upkeep(url: str) -> None:
    """Pause Callboard's own schedules: a test counts the messages that it sends, and no others."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO callboard.schedules (schedule_name, actor_name, queue_name, cron, timezone, catch_up, "
            "is_paused, next_at, declared_at) VALUES (%s, '', '', '', '', 'latest', true, now(), '2000-01-01')",
            [(own.name,) for own in declared_on(callboard.app.broker)],
        )


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep variables and .env of the machine out of the tests."""
    from callboard.settings import PREFIX, Settings

    for name in [*map(str.upper, Settings.model_fields), "PORT"]:
        for variable in (name, f"{name}_FILE", f"{PREFIX}{name}", f"{PREFIX}{name}_FILE"):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(autouse=True)
def _the_services_own_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back the service's broker, which a test may replace: its database is gone after it."""
    monkeypatch.setattr(service_broker, "_default_broker", service_broker._default_broker)


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[Server]:
    """The wheel's Postgres, gone after the run."""
    with temporary_server() as server:
        yield server


@pytest.fixture(scope="session")
def system_server() -> Iterator[Server | None]:
    """The system's newest Postgres, where one is installed."""
    if not SYSTEM_POSTGRES:
        yield None
        return
    with temporary_server(SYSTEM_POSTGRES[-1]) as server:
        yield server


def _migrated_template(server: Server) -> str:
    name = f"template_{schema.REVISION}"
    url = server.recreate_database(name)
    schema.upgrade(url)
    pause_upkeep(url)
    return name


@pytest.fixture(scope="session")
def _embedded_template(embedded_server: Server) -> str:
    return _migrated_template(embedded_server)


@pytest.fixture(scope="session")
def _system_template(system_server: Server | None) -> str | None:
    return None if system_server is None else _migrated_template(system_server)


@contextlib.contextmanager
def fresh_database(server: Server, template: str = "template0") -> Iterator[str]:
    """A database of its own for one test, dropped after it: thousands of them would fill a disk."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    yield server.recreate_database(name, template)
    # Where the server was ended by the test, its data goes with it.
    with contextlib.suppress(psycopg2.OperationalError):
        server.drop_database(name)


@pytest.fixture
def database_url(embedded_server: Server, _embedded_template: str) -> Iterator[str]:
    """A fresh, migrated database on the embedded server."""
    with fresh_database(embedded_server, _embedded_template) as url:
        yield url


@pytest.fixture(params=["embedded", "system"])
def each_database_url(
    request: pytest.FixtureRequest, embedded_server: Server, _embedded_template: str
) -> Iterator[str]:
    """A fresh, migrated database on each kind of server: what a test of SQL asks for."""
    server, template = embedded_server, _embedded_template
    if request.param == "system":
        if not SYSTEM_POSTGRES:
            pytest.skip("no Postgres of the system is installed; the embedded one ran this test")
        server, template = request.getfixturevalue("system_server"), request.getfixturevalue("_system_template")
    with fresh_database(server, template) as url:
        yield url


@pytest.fixture
def connection(database_url: str) -> Iterator[Any]:
    """A connection in autocommit mode, for looking."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    yield connection
    connection.close()


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    """A pool on the fresh database."""
    pool = Pool(database_url)
    yield pool
    pool.close()
