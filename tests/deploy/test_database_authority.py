"""The database's authority, mounted by the component of k8s/."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.deploy.rendering import ROOT, kubectl, pod_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.deploy


def test_it_is_mounted_wherever_something_connects(tmp_path: Path):
    overlay = {
        name: [os.path.relpath(ROOT / "k8s" / folder, tmp_path)]
        for name, folder in (("resources", "overlays/prod"), ("components", "components/database-ca"))
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")

    objects = list(yaml.safe_load_all(kubectl("kustomize", str(tmp_path))))

    pods = [pod_of(item) for item in objects if item["kind"] in ("Deployment", "Job")]
    assert len(pods) == 3
    for pod in pods:
        assert {"name": "database-ca", "configMap": {"name": "callboard-database-ca"}} in pod["volumes"]
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert paths["database-ca"] == "/etc/callboard/database-ca"
            assert paths["tmp"] == "/tmp"
