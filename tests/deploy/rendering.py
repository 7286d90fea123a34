"""What the deployment files say, read the way the tools that use them read them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from callboard.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
OVERLAYS = ("dev", "prod")

#: Variables that belong to a library, not to Settings: libpq's, and those the S3 client reads by itself.
LIBRARY_VARIABLES = {"PGPASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}

Manifest = dict[str, Any]


def tool(name: str, remedy: str) -> str:
    """Return the path of a program; its absence fails the test, since a skipped check looks like a passed one."""
    beside_python = str(Path(sys.executable).parent)
    path = shutil.which(name, path=beside_python) or shutil.which(name)
    if path is None:
        pytest.fail(
            f"{name} is not installed, and the deployment cannot be checked without it. {remedy}", pytrace=False
        )
    return path


def kubectl(*arguments: str) -> str:
    """Run kubectl without a cluster and return what it printed."""
    command = [tool("kubectl", "See https://kubernetes.io/docs/tasks/tools/"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    if result.returncode:
        pytest.fail(f"kubectl {' '.join(arguments)} failed: {result.stderr.strip()}", pytrace=False)
    return result.stdout


@cache
def _rendered(folder: str) -> str:
    return kubectl("kustomize", folder)


def render(folder: str) -> list[Manifest]:
    """Return the objects of a kustomization, a fresh copy for each caller."""
    return list(yaml.safe_load_all(_rendered(folder)))


def of_kind(objects: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in objects if manifest["kind"] == kind]


def named(objects: list[Manifest], kind: str, name: str) -> Manifest:
    found = [manifest for manifest in of_kind(objects, kind) if manifest["metadata"]["name"] == name]
    assert len(found) == 1, f"expected one {kind} {name}, found {len(found)}"
    return found[0]


def workloads(objects: list[Manifest]) -> list[Manifest]:
    """Return everything that has a pod template."""
    return [manifest for manifest in objects if "template" in manifest.get("spec", {})]


def pod_of(workload: Manifest) -> Manifest:
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def containers_of(workload: Manifest) -> list[Manifest]:
    """Return all containers of a workload, those that run first included."""
    pod = pod_of(workload)
    return [*pod.get("initContainers", []), *pod["containers"]]


def config_of(objects: list[Manifest]) -> dict[str, str]:
    """Return the settings of the one ConfigMap."""
    (config,) = of_kind(objects, "ConfigMap")
    data: dict[str, str] = config["data"]
    return data


def is_known_variable(name: str) -> bool:
    field = name.lower().removesuffix("_file")
    return name == name.upper() and (field in Settings.model_fields or name in LIBRARY_VARIABLES)


def callboard_commands(words: list[str]) -> Iterator[tuple[str, ...]]:
    """Return the callboard commands in a container's command, those inside a shell script included."""
    if words[0] == "callboard":
        yield tuple(words[1:])
    elif words[:2] == ["sh", "-c"]:
        for match in re.finditer(r"\bcallboard((?: [a-z-]+)+)", words[2]):
            yield tuple(match[1].split())


@cache
def fails_as_command(arguments: tuple[str, ...]) -> str:
    """Ask the CLI for the command's help; return its complaint, or nothing when the command exists."""
    command = [sys.executable, "-c", "from callboard.cli import main; main()", *arguments, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    return "" if result.returncode == 0 else result.stderr.strip() or f"exit {result.returncode}"


def duration_s(text: str) -> int:
    """Return a compose duration such as 1m15s in seconds."""
    match = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text)
    assert match, f"{text!r} is not a duration in minutes and seconds"
    return int(match[1] or 0) * 60 + int(match[2] or 0)
