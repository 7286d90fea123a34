"""The chaos suite: real processes, broken on purpose. `make chaos` runs its long form, `make test` its short one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.aging import AgingTable
from tests.chaos.cluster import own_cluster
from tests.chaos.stage import Line, Stage, stage
from tests.conftest import SYSTEM_POSTGRES, fresh_database

_lines = pytest.StashKey[list[str]]()
SERVERS = {"short": ["embedded"], "long": ["embedded", "system"] if SYSTEM_POSTGRES else ["embedded"]}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos_long: takes minutes, and runs in the long form of the chaos suite only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--chaos") == "long":
        return
    left_out = [item for item in items if item.get_closest_marker("chaos_long")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run on the embedded Postgres, and in the long form on the system's too."""
    if "chaos_server" in metafunc.fixturenames:
        metafunc.parametrize("chaos_server", SERVERS[metafunc.config.getoption("--chaos")], scope="session")


@pytest.fixture(scope="session")
def chaos_form(pytestconfig: pytest.Config) -> str:
    """short (part of `make test`) or long (`make chaos`)."""
    return str(pytestconfig.getoption("--chaos"))


@pytest.fixture(scope="session")
def is_long(chaos_form: str) -> bool:
    return chaos_form == "long"


@pytest.fixture(scope="session")
def report_line(pytestconfig: pytest.Config) -> Callable[[Any], None]:
    """Keep a line for the end of the run; the long form, which takes a while, also shows it at once."""
    lines = pytestconfig.stash.setdefault(_lines, [])
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def report(line: Any) -> None:
        lines.append(str(line))
        if pytestconfig.getoption("--chaos") == "long":
            with capture.global_and_fixture_disabled():
                print(f"\n{line}", flush=True)  # noqa: T201 - the report of the run

    return report


@pytest.fixture
def on_stage(
    tmp_path: Path, database_url: str, report_line: Callable[[Line], None]
) -> Callable[..., contextlib.AbstractContextManager[Stage]]:
    """Set a scenario up: `with on_stage("C-01 …") as stage`. Without a url it plays on the tests' own server."""

    @contextlib.contextmanager
    def begin(name: str, *, url: str = database_url, **environment: str) -> Iterator[Stage]:
        with stage(name, url, tmp_path / "stage", report_line, **environment) as lent:
            yield lent

    return begin


@pytest.fixture(scope="session")
def aging_table(
    tmp_path_factory: pytest.TempPathFactory,
    report_line: Callable[[Line], None],
    is_long: bool,
) -> Iterator[AgingTable]:
    """A table that ages from the beginning of the run on: in the long form, beneath all other scenarios."""
    name = "C-10 a transaction held open under load"
    load = {"rate": 500, "full_s": 600, "half_s": 180, "sample": 10_000}
    if not is_long:
        load = {"rate": 200, "full_s": 1, "half_s": 1, "sample": 500}
    folder = tmp_path_factory.mktemp("aging") / "stage"
    with own_cluster() as cluster, stage(name, cluster.database("aging"), folder, report_line) as lent:
        table = AgingTable(lent, cluster.database("fresh"), **load)
        table.begin()
        yield table
        table.release()


@pytest.fixture(scope="session", autouse=True)
def _aging_begins(request: pytest.FixtureRequest, is_long: bool) -> None:
    """Start the long load with the run's first scenario; its test is the last one."""
    if is_long and any("test_table_health" in item.nodeid for item in request.session.items):
        request.getfixturevalue("aging_table")


@pytest.fixture
def chaos_database_url(chaos_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh, migrated database on the server that this run is for."""
    server = request.getfixturevalue(f"{chaos_server}_server")
    with fresh_database(server, request.getfixturevalue(f"_{chaos_server}_template")) as url:
        yield url


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


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = config.stash.get(_lines, [])
    if lines:
        terminalreporter.section("chaos")
        for line in lines:
            terminalreporter.write_line(line)
