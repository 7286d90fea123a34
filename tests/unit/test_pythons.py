"""Which Pythons `make compat` finds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FINDER = Path(__file__).parents[2] / ".ci" / "pythons"
#: Of no Python, so that none of the machine's own is found.
VERSION = "9.9"
#: As pyenv's shim of a version that is not the chosen one.
DEAF = f"#!/bin/sh\necho 'pyenv: python{VERSION}: command not found' >&2\nexit 127\n"
#: Answers what it is asked as one that is usable does.
USABLE = '#!/bin/sh\necho "$0"\n'
#: Another version under this one's name.
OTHER = f'#!/bin/sh\nexec {sys.executable} "$@"\n'


@pytest.fixture
def place(tmp_path):
    """Return a function that puts a script where a Python of this version might be."""

    def place(folder: str, script: str) -> Path:
        python = tmp_path / folder / f"python{VERSION}"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(script)
        python.chmod(0o755)
        return python

    return place


@pytest.fixture
def find(tmp_path):
    """Return a function that asks for versions, with nothing to be found but what was put into tmp_path."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "sh", "env"):
        (tools / name).symlink_to(str(shutil.which(name)))

    def find(*versions: str, path: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        searched = os.pathsep.join(filter(None, [str(tools), path]))
        return subprocess.run(
            [FINDER, *versions], env={"PATH": searched, "HOME": str(tmp_path), **environment},
            capture_output=True, text=True, check=True,
        )  # fmt: skip

    return find


@pytest.mark.parametrize("folder", [".pyenv/versions/9.9.1/bin", ".local/share/uv/python/cpython-9.9.4-linux/bin"])
def test_a_python_behind_a_shim_that_does_not_answer_is_found(folder, place, find, tmp_path):
    place("shims", DEAF)
    python = place(folder, USABLE)
    assert find(VERSION, path=str(tmp_path / "shims")).stdout.split() == [str(python)]


def test_pyenv_is_asked_where_its_versions_are(place, find, tmp_path):
    python = place("elsewhere/versions/9.9.1/bin", USABLE)
    pyenv = place("bin", f"#!/bin/sh\necho {tmp_path / 'elsewhere'}\n")
    pyenv.rename(pyenv.with_name("pyenv"))
    assert find(VERSION, path=str(pyenv.parent)).stdout.split() == [str(python)]
    assert find(VERSION, PYENV_ROOT=str(tmp_path / "elsewhere")).stdout.split() == [str(python)]


def test_the_one_on_path_comes_first(place, find, tmp_path):
    python = place("bin", USABLE)
    place(".pyenv/versions/9.9.1/bin", USABLE)
    assert find(VERSION, path=str(python.parent)).stdout.split() == [str(python)]


def test_a_python_is_taken_for_what_it_says_it_is(place, find, tmp_path):
    running = "{}.{}".format(*sys.version_info)
    python = place("bin", OTHER)
    python.with_name(f"python{running}").write_text(OTHER)
    python.with_name(f"python{running}").chmod(0o755)
    found = find(VERSION, running, path=str(python.parent))
    assert found.stdout.split() == [sys.executable]
    assert found.stderr == "There is no usable Python 9.9 on this machine.\n"
