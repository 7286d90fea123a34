from __future__ import annotations

import re

import pytest

from callboard.settings import Settings
from callboard.web.health import DATABASE_TIMEOUT_S
from callboard.web.server import SHUTDOWN_S
from tests.deploy.rendering import (
    ROOT,
    Manifest,
    config_of,
    containers_of,
    named,
    of_kind,
    pod_of,
    workloads,
)

pytestmark = pytest.mark.deploy

#: Time a worker needs besides its drain, to stop its processes and write the last verdicts, s.
BESIDE_DRAIN_S = 15


def test_every_pod_satisfies_the_restricted_profile(objects: list[Manifest]):
    uid = int(re.search(r"^USER (\d+):", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)[1])
    for workload in workloads(objects):
        pod = pod_of(workload)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == uid
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys()
        for volume in pod.get("volumes", []):
            assert volume.keys() - {"name"} <= {"emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim"}
        for container in containers_of(workload):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, container["name"]
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_every_container_can_write_to_tmp_and_only_where_something_is_mounted(objects: list[Manifest]):
    for workload in workloads(objects):
        volumes = {volume["name"]: volume for volume in pod_of(workload).get("volumes", [])}
        for container in containers_of(workload):
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
            # Without a limit a runaway report fills the node's disk.
            assert mounts["/tmp"]["emptyDir"]["sizeLimit"], container["name"]
            storage = config_of(objects).get("REPORT_STORAGE_URL", "")
            if (
                storage.startswith("file://")
                and workload["kind"] == "Deployment"
                and container in pod_of(workload)["containers"]
            ):
                folder = storage.removeprefix("file://")
                claims = [path for path, volume in mounts.items() if "persistentVolumeClaim" in volume]
                assert any(folder.startswith(path) for path in claims), f"{container['name']} cannot keep {storage}"


def test_no_pod_holds_a_token_or_the_addresses_of_other_services(objects: list[Manifest]):
    accounts = {manifest["metadata"]["name"]: manifest for manifest in of_kind(objects, "ServiceAccount")}
    for workload in workloads(objects):
        pod = pod_of(workload)
        assert pod["automountServiceAccountToken"] is False
        assert accounts[pod["serviceAccountName"]]["automountServiceAccountToken"] is False
        # A Service named "api" would otherwise set API_PORT=tcp://…, which is a setting.
        assert pod["enableServiceLinks"] is False


def test_every_container_states_what_it_needs(objects: list[Manifest]):
    for workload in workloads(objects):
        for container in containers_of(workload):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), container["name"]
            assert "memory" in resources["limits"], container["name"]
            assert "cpu" not in resources["limits"], "a throttled heartbeat looks like a dead worker"


def test_a_worker_has_time_to_drain(objects: list[Manifest]):
    pod = pod_of(named(objects, "Deployment", "callboard-worker"))
    variables = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
    assert {"WORKER_PROCESSES", "JOB_CONCURRENCY"} <= variables.keys()
    assert pod["terminationGracePeriodSeconds"] >= int(variables["WORKER_SHUTDOWN_S"]) + BESIDE_DRAIN_S
    # envFrom loses to env, but a second value elsewhere would mislead whoever changes it there.
    assert "WORKER_SHUTDOWN_S" not in config_of(objects)


def test_the_api_answers_its_longest_request_before_it_stops(objects: list[Manifest]):
    pod = pod_of(named(objects, "Deployment", "callboard-api"))
    program, wait_s = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    longest_s = float(config_of(objects).get("YUKASSA_TIMEOUT_S", Settings.model_fields["yukassa_timeout_s"].default))
    assert pod["terminationGracePeriodSeconds"] >= int(wait_s) + max(longest_s, SHUTDOWN_S) + 15


def test_readiness_waits_for_the_answer_that_says_what_is_wrong(objects: list[Manifest]):
    (container,) = pod_of(named(objects, "Deployment", "callboard-api"))["containers"]
    assert container["readinessProbe"]["timeoutSeconds"] > DATABASE_TIMEOUT_S


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_every_deployment_is_probed(objects: list[Manifest], probe: str):
    path = "/health/ready" if probe == "readinessProbe" else "/health/live"
    for deployment in of_kind(objects, "Deployment"):
        for container in pod_of(deployment)["containers"]:
            get = container[probe]["httpGet"]
            assert get["path"] == path
            assert get["port"] in {port["name"] for port in container["ports"]}


def test_liveness_is_patient(objects: list[Manifest]):
    for deployment in of_kind(objects, "Deployment"):
        probe = pod_of(deployment)["containers"][0]["livenessProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_ports_agree_with_the_settings(objects: list[Manifest]):
    config = config_of(objects)
    for name, port_name, setting in (
        ("callboard-api", "http", "API_PORT"),
        ("callboard-worker", "metrics", "METRICS_PORT"),
    ):
        ports = pod_of(named(objects, "Deployment", name))["containers"][0]["ports"]
        assert ports == [{"name": port_name, "containerPort": int(config[setting])}]


def test_deployments_wait_for_the_schema_and_stop_waiting_when_told(objects: list[Manifest]):
    for deployment in of_kind(objects, "Deployment"):
        (waiting,) = pod_of(deployment)["initContainers"]
        assert waiting["command"][:2] == ["sh", "-c"]
        assert "until callboard db check; do sleep" in waiting["command"][2]
        assert "trap 'exit 143' TERM" in waiting["command"][2]


def test_a_migration_failure_is_kept_and_the_whole_secret_is_not_given_to_it(objects: list[Manifest]):
    (job,) = of_kind(objects, "Job")
    (container,) = pod_of(job)["containers"]
    assert pod_of(job)["restartPolicy"] == "Never"
    assert "envFrom" not in container
    assert [variable["name"] for variable in container["env"] if "valueFrom" in variable] == ["DATABASE_URL"]
