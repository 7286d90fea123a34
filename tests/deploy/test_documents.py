from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from callboard.app import POOL_SIZE
from tests.deploy.rendering import ROOT, fails_as_command, kubectl, named, pod_of, render

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.deploy

PAGE = ROOT / "docs/kubernetes.md"


@pytest.fixture
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_every_path_on_the_page_exists(page: str):
    # k8s/secret.env is the copy its reader makes.
    paths = set(re.findall(r"\bk8s/[\w./-]*\w", page)) - {"k8s/secret.env"}
    assert paths
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_every_command_on_the_page_exists(page: str):
    commands = set(re.findall(r"`callboard ([a-z ]+)`", page))
    assert {"work", "api", "db upgrade", "db check"} <= commands
    for command in commands:
        assert fails_as_command(tuple(command.split())) == "", f"callboard {command}"


def test_the_patch_for_long_reports_does_what_the_page_says(page: str, tmp_path: Path):
    (patch,) = (block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if block.startswith("patches:"))
    overlay = {"resources": [os.path.relpath(ROOT / "k8s/overlays/prod", tmp_path)], **yaml.safe_load(patch)}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")

    objects = list(yaml.safe_load_all(kubectl("kustomize", str(tmp_path))))

    pod = pod_of(named(objects, "Deployment", "callboard-worker"))
    variables = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
    assert pod["terminationGracePeriodSeconds"] == int(variables["WORKER_SHUTDOWN_S"]) + 15 == 615
    assert variables["WORKER_PROCESSES"] == "2", "the other variables stay"


def test_the_connections_that_postgres_must_allow_are_counted_right(page: str):
    objects = render("k8s/overlays/prod")
    worker, api = (named(objects, "Deployment", f"callboard-{role}") for role in ("worker", "api"))
    variables = {variable["name"]: variable["value"] for variable in pod_of(worker)["containers"][0]["env"]}
    # Beside its pool a worker process holds three: for claims, for verdicts and for its liveness lock.
    of_process = POOL_SIZE + 3
    # One pod more of each while a rollout runs.
    of_workers = (worker["spec"]["replicas"] + 1) * int(variables["WORKER_PROCESSES"]) * of_process
    of_apis = (api["spec"]["replicas"] + 1) * POOL_SIZE
    assert f"up to {of_process} connections for each worker process and {POOL_SIZE} for each API pod" in page
    assert f" = {of_workers + of_apis}." in page


def test_the_real_secret_is_kept_out_of_git():
    assert "k8s/secret.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
