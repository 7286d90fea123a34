"""Which form of the chaos suite runs, on which servers, and what it says."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.conftest import SYSTEM_POSTGRES

SERVERS = {"short": ["embedded"], "long": ["embedded", "system"] if SYSTEM_POSTGRES else ["embedded"]}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run on the embedded Postgres, and in the long form on the system's too."""
    if "chaos_server" in metafunc.fixturenames:
        metafunc.parametrize("chaos_server", SERVERS[metafunc.config.getoption("--chaos")], scope="session")


@pytest.fixture(scope="session")
def chaos_form(request: pytest.FixtureRequest) -> str:
    """Return "short", which is part of `make test`, or "long"."""
    return str(request.config.getoption("--chaos"))


@pytest.fixture
def chaos_database_url(chaos_server: str, request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database on the server that this run is for."""
    server = request.getfixturevalue(f"{chaos_server}_server")
    template = request.getfixturevalue(f"_{chaos_server}_template")
    return str(server.recreate_database(f"chaos_{os.getpid()}", template))


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line that is seen without -s too."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def print_line(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(line)

    return print_line
