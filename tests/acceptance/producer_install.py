"""A web service's installation: the base package's distributions, and nothing that only a worker needs."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.acceptance.processes import REPOSITORY

PACKAGES = ("actors", "middleware", "callboard")


def base_distributions(name: str = "callboard") -> dict[str, importlib.metadata.Distribution]:
    """Return what a plain `pip install` of the name would bring, by canonical name, without itself."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [Requirement(name)]
    while waiting:
        requirement = waiting.pop()
        distribution = importlib.metadata.distribution(requirement.name)
        found[canonicalize_name(requirement.name)] = distribution
        extras = requirement.extras or {""}
        for line in distribution.requires or ():
            needed = Requirement(line)
            if needed.marker is not None and not any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                continue
            if canonicalize_name(needed.name) not in found:
                waiting.append(needed)
    del found[canonicalize_name(name)]
    return found


def install(place: Path) -> Path:
    """Make a virtual environment from files that are on this machine already, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin" / "python"
    asked = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    site_packages = Path(asked.stdout.strip())
    for distribution in base_distributions().values():
        _copy(distribution, site_packages)
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, site_packages / package, ignore=shutil.ignore_patterns("__pycache__"))
    # Compiled now, as an installer does: a start that has to compile would tell nothing about imports.
    subprocess.run([str(python), "-m", "compileall", "-q", str(site_packages)], check=False)
    return python


def _copy(distribution: importlib.metadata.Distribution, site_packages: Path) -> None:
    for file in distribution.files or ():
        if file.suffix == ".pyc" or ".." in file.parts:
            continue  # What lies outside are the commands in bin/, which a producer does not call.
        target = site_packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(distribution.locate_file(file)), target)
