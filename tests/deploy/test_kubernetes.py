from __future__ import annotations

import itertools
import tomllib
from typing import Any

import kubernetes_validate
import pytest
import yaml

from callboard.settings import Settings, load_settings
from tests.deploy.rendering import (
    ROOT,
    Manifest,
    callboard_commands,
    config_of,
    containers_of,
    fails_as_command,
    is_known_variable,
    kubectl,
    named,
    of_kind,
    pod_of,
    render,
    workloads,
)

pytestmark = pytest.mark.deploy

SECRET_EXAMPLE = "k8s/secret.env.example"
OLDEST_KUBERNETES = "1.29"


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
def test_every_object_satisfies_the_strict_schema(objects: list[Manifest], version: str):
    for manifest in objects:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_three_roles_are_there(objects: list[Manifest]):
    names = {
        (manifest["kind"], manifest["metadata"]["labels"]["app.kubernetes.io/component"])
        for manifest in workloads(objects)
    }
    assert names == {("Deployment", "worker"), ("Deployment", "api"), ("Job", "migrate")}


def test_every_object_lives_in_the_namespace(objects: list[Manifest]):
    (namespace,) = of_kind(objects, "Namespace")
    for manifest in objects:
        if manifest is not namespace:
            assert manifest["metadata"]["namespace"] == namespace["metadata"]["name"], manifest["metadata"]["name"]


def test_the_namespace_refuses_pods_that_ask_for_more(objects: list[Manifest]):
    (namespace,) = of_kind(objects, "Namespace")
    for mode in ("enforce", "audit", "warn"):
        assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_every_variable_is_a_setting(objects: list[Manifest]):
    variables = set(config_of(objects))
    for container in itertools.chain.from_iterable(containers_of(workload) for workload in workloads(objects)):
        variables |= {variable["name"] for variable in container.get("env", [])}
    assert {name for name in variables if not is_known_variable(name)} == set()


def test_the_settings_of_each_deployment_are_accepted(overlay: list[Manifest], monkeypatch: pytest.MonkeyPatch):
    for deployment in of_kind(overlay, "Deployment"):
        with monkeypatch.context() as patch:
            for name, value in config_of(overlay).items():
                patch.setenv(name, value)
            for variable in pod_of(deployment)["containers"][0].get("env", []):
                patch.setenv(variable["name"], variable["value"])
            load_settings()


def test_every_command_exists(objects: list[Manifest]):
    for workload in workloads(objects):
        for container in containers_of(workload):
            commands = list(callboard_commands(container.get("command") or container["args"]))
            assert commands, f"{container['name']} runs no callboard command"
            for command in commands:
                assert fails_as_command(command) == "", f"callboard {' '.join(command)}"


def test_every_reference_leads_to_something(objects: list[Manifest]):
    (config,) = of_kind(objects, "ConfigMap")
    secret_keys = _secret_example().keys()
    claims = {manifest["metadata"]["name"] for manifest in of_kind(objects, "PersistentVolumeClaim")}
    for workload in workloads(objects):
        for container in containers_of(workload):
            for source in container.get("envFrom", []):
                expected = {"configMapRef": config["metadata"]["name"], "secretRef": "callboard"}
                assert source == {kind: {"name": expected[kind]} for kind in source}
            for variable in container.get("env", []):
                if "valueFrom" in variable:
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert (reference["name"], reference["key"] in secret_keys) == ("callboard", True)
        for volume in pod_of(workload).get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_services_lead_to_a_port_of_exactly_one_deployment(objects: list[Manifest]):
    services = {service["metadata"]["name"]: service["spec"] for service in of_kind(objects, "Service")}
    assert services.keys() == {"callboard-api", "callboard-worker-metrics"}
    assert services["callboard-worker-metrics"]["clusterIP"] == "None"
    for service in services.values():
        (target,) = _selected(objects, service["selector"])
        ports = {port["name"]: port["containerPort"] for port in pod_of(target)["containers"][0]["ports"]}
        for port in service["ports"]:
            assert ports[port["targetPort"]] == port["port"]


def test_every_deployment_selects_its_own_pods_only(objects: list[Manifest]):
    for deployment in of_kind(objects, "Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert _selected(objects, selector) == [deployment]
        spread = pod_of(deployment)["topologySpreadConstraints"]
        assert {constraint["topologyKey"] for constraint in spread} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        for constraint in spread:
            assert constraint["labelSelector"]["matchLabels"] == selector
            assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"


def test_a_node_can_be_drained_one_pod_at_a_time(objects: list[Manifest]):
    budgets = of_kind(objects, "PodDisruptionBudget")
    targets = [_selected(objects, budget["spec"]["selector"]["matchLabels"]) for budget in budgets]
    assert sorted(target["metadata"]["name"] for (target,) in targets) == ["callboard-api", "callboard-worker"]
    for budget in budgets:
        assert budget["spec"]["maxUnavailable"] == 1


def test_a_rollout_takes_nothing_away_before_its_successor_is_ready(objects: list[Manifest]):
    for deployment in of_kind(objects, "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_all_roles_run_the_same_image_and_each_tag_has_its_own_migration(overlay: list[Manifest]):
    images = {container["image"] for workload in workloads(overlay) for container in containers_of(workload)}
    (image,) = images
    tag = image.rpartition(":")[2]
    assert tag != "latest"
    (job,) = of_kind(overlay, "Job")
    assert job["metadata"]["name"] == f"callboard-migrate-{tag}"
    # A Job cannot be changed: a reference to a ConfigMap, whose name holds a hash, would make the next apply fail.
    assert config_of(overlay) is not None
    assert "configMap" not in yaml.safe_dump(job)


def test_production_runs_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    deployment = named(render("k8s/overlays/prod"), "Deployment", "callboard-worker")
    assert pod_of(deployment)["containers"][0]["image"].endswith(f":{version}")


def test_production_keeps_reports_where_every_node_reaches_them():
    assert config_of(render("k8s/overlays/prod"))["REPORT_STORAGE_URL"].startswith("s3://")


def test_no_manifest_holds_a_secret(objects: list[Manifest]):
    assert of_kind(objects, "Secret") == []
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert {name for name in config_of(objects) if name.lower() in secret} == set()
    for container in itertools.chain.from_iterable(containers_of(workload) for workload in workloads(objects)):
        for variable in container.get("env", []):
            assert "value" not in variable or variable["name"].lower() not in secret


def test_the_secret_template_makes_an_empty_secret_of_known_variables():
    options = (f"--from-env-file={SECRET_EXAMPLE}", "--dry-run=client", "--output=yaml")
    secret = yaml.safe_load(kubectl("create", "secret", "generic", "callboard", *options))
    kubernetes_validate.validate(secret, OLDEST_KUBERNETES, strict=True)
    assert {name for name in secret["data"] if not is_known_variable(name)} == set()
    assert set(secret["data"].values()) == {""}


def test_the_secret_template_is_complete():
    secret = {name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret - _secret_example().keys() == set()


def _secret_example() -> dict[str, str]:
    lines = (ROOT / SECRET_EXAMPLE).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _selected(objects: list[Manifest], selector: dict[str, Any]) -> list[Manifest]:
    return [
        workload
        for workload in workloads(objects)
        if selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
    ]
