from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from callboard.settings import Settings, load_settings
from tests.deploy.rendering import ROOT, callboard_commands, duration_s, fails_as_command, is_known_variable

pytestmark = pytest.mark.deploy

PASSWORD = "p@ss:w/rd"
OURS = ("migrate", "api", "worker")


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]


def test_the_services_are_there(services: dict[str, Any]):
    assert services.keys() == {"postgres", *OURS}
    assert services["postgres"]["image"] == "postgres:18"


def test_the_password_has_no_default(compose: dict[str, Any]):
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    uses = re.findall(r"\$\{(POSTGRES_PASSWORD[^}]*)\}", text)
    assert uses
    for use in uses:
        assert use.startswith("POSTGRES_PASSWORD:?")
    for service in OURS:
        url = compose["services"][service]["environment"]["DATABASE_URL"]
        assert re.fullmatch(r"postgresql://[a-z]+@postgres:5432/[a-z]+", url), "the password belongs into PGPASSWORD"


def test_the_database_is_the_one_postgres_makes(services: dict[str, Any]):
    made = services["postgres"]["environment"]
    url = f"postgresql://{made['POSTGRES_USER']}@postgres:5432/{made['POSTGRES_DB']}"
    assert {services[name]["environment"]["DATABASE_URL"] for name in OURS} == {url}
    assert {services[name]["environment"]["PGPASSWORD"] for name in OURS} == {made["POSTGRES_PASSWORD"]}


def test_every_variable_is_a_setting(services: dict[str, Any]):
    variables = {name for service in OURS for name in services[service]["environment"]}
    assert {name for name in variables if not is_known_variable(name)} == set()


@pytest.mark.parametrize("service", OURS)
def test_the_settings_are_accepted(services: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in services[service]["environment"].items():
        monkeypatch.setenv(name, _interpolated(value))
    load_settings()


def test_every_command_exists(services: dict[str, Any]):
    for service in OURS:
        (command,) = callboard_commands(services[service]["command"])
        assert fails_as_command(command) == "", f"callboard {' '.join(command)}"


def test_each_waits_for_what_it_needs(services: dict[str, Any]):
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for service in ("api", "worker"):
        assert services[service]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


def test_postgres_is_healthy_only_when_it_listens_on_the_network(services: dict[str, Any]):
    # While the image sets the database up, a first server answers on the socket and then stops again.
    test = services["postgres"]["healthcheck"]["test"]
    assert test[:2] == ["CMD", "pg_isready"]
    assert "--host=127.0.0.1" in test


def test_a_migration_that_failed_is_not_run_for_ever(services: dict[str, Any]):
    assert services["migrate"]["restart"] == "no"
    for service in ("postgres", "api", "worker"):
        assert services[service]["restart"] == "unless-stopped"


def test_a_worker_has_time_to_drain(services: dict[str, Any]):
    worker = services["worker"]
    assert duration_s(worker["stop_grace_period"]) >= int(worker["environment"]["WORKER_SHUTDOWN_S"]) + 15


def test_the_api_answers_its_longest_request_before_it_stops(services: dict[str, Any]):
    longest_s = Settings.model_fields["yukassa_timeout_s"].default
    assert duration_s(services["api"]["stop_grace_period"]) >= longest_s + 15


@pytest.mark.parametrize(("service", "setting"), [("api", "API_PORT"), ("worker", "METRICS_PORT")])
def test_ports_and_health_checks_agree_with_the_settings(services: dict[str, Any], service: str, setting: str):
    port = services[service]["environment"][setting]
    (published,) = services[service]["ports"]
    address, _, container_port = published.rsplit(":", 2)
    assert (address, container_port) == ("127.0.0.1", port), "published on this machine only"
    assert f"http://127.0.0.1:{port}/health/ready" in services[service]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("service", OURS)
def test_a_container_can_do_no_more_than_it_needs(services: dict[str, Any], service: str):
    container = services[service]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["tmpfs"] == ["/tmp"]
    assert "user" not in container, "the image names the user"
    assert "privileged" not in container


def test_the_worker_and_the_api_share_the_reports(compose: dict[str, Any]):
    services = compose["services"]
    folder = PurePosixPath(services["api"]["environment"]["REPORT_STORAGE_URL"].removeprefix("file://"))
    mounts = {service: services[service]["volumes"] for service in ("api", "worker")}
    assert mounts["api"] == mounts["worker"]
    (mount,) = mounts["api"]
    volume, _, target = mount.partition(":")
    assert PurePosixPath(target) in folder.parents
    assert volume in compose["volumes"]
    # A new volume takes its owner from this folder of the image; else only root could write into it.
    assert f"--owner=10001 --group=10001 {target}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_data_of_postgres_outlives_its_container(compose: dict[str, Any]):
    (mount,) = compose["services"]["postgres"]["volumes"]
    volume, _, target = mount.partition(":")
    assert volume in compose["volumes"]
    # Mounted one level deeper, the folder of a later major version would lie outside the volume.
    assert target == "/var/lib/postgresql"


def _interpolated(value: str) -> str:
    """Fill in ${NAME:-default} and ${NAME:?text} as compose does, with a password that has every awkward character."""
    filled = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)
    return re.sub(r"\$\{POSTGRES_PASSWORD:\?[^}]*\}", PASSWORD, filled)
