"""The house: no circle among its rooms, none too full, and one name for one concept wherever it lives."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from tests.unit.pages import ROOT

TOPS = ("callboard", "actors", "middleware")
#: Modules that one folder holds at the most, its __init__ apart.
ROOM_MAX = 12
#: Concepts of an operator, by one stem in each of these places.
CONCEPTS = ("dead_letters", "messages", "queues", "schedules", "workers", "audit")
PLACES = ("callboard/ops", "callboard/cli", "callboard/db/sql", "callboard/web/operators")
#: Statements that are run from another room than their folder's, and why.
FOREIGN = {
    ("callboard/broker/broker.py", "queues"): "Dramatiq asks its broker for counts, and to flush",
    ("callboard/broker/completions.py", "ending"): "completion() stands above the rooms of the road",
    ("callboard/broker/ending/statements.py", "results"): "written in the verdict's transaction",
    ("callboard/broker/ending/statements.py", "rate_limits"): "written in the verdict's transaction",
    ("callboard/broker/liveness/expiry.py", "results"): "the leader deletes what has expired",
    ("callboard/broker/liveness/expiry.py", "rate_limits"): "the leader deletes what has expired",
    ("callboard/ops/queues/figures.py", "workers"): "the figures of a queue tell how many work",
    ("callboard/db/grants.py", "schema"): "what a role lacks of the schema",
    ("callboard/db/upgrade_refusals.py", "schema"): "whom an upgrade waits for",
    ("callboard/db/sql.py", "claiming"): "an example",
}


def modules():
    paths = [path for top in TOPS for path in (ROOT / top).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(known):
    """Return whom each module imports, within functions and for annotations too."""
    graph = {}
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
                base = base if node.level else node.module
                found |= {full if (full := f"{base}.{alias.name}") in known else base for alias in node.names}
        graph[name] = {target for target in found if target in known and target != name}
    return graph


def circles(graph):
    """Return what is left when modules that import nothing of the rest are taken away, again and again."""
    left = dict(graph)
    while free := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in free}
    return {name: sorted(targets & left.keys()) for name, targets in left.items()}


def test_no_circle_of_imports_anywhere():
    assert circles(imports(modules())) == {}


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}).keys() >= {"b", "c"}
    assert circles({"a": {"b"}, "b": set()}) == {}


def test_no_room_is_too_full():
    files = [path for path in modules().values() if path.name != "__init__.py"]
    rooms = Counter(path.parent.relative_to(ROOT).as_posix() for path in files)
    # A migration is a file for good.
    assert {room: count for room, count in rooms.items() if count > ROOM_MAX and "versions" not in room} == {}


@pytest.mark.parametrize("place", PLACES)
def test_a_concept_has_the_same_name_everywhere(place):
    assert {path.stem for path in (ROOT / place).iterdir()} >= set(CONCEPTS)


def test_statements_are_run_from_the_room_of_their_name():
    strangers = set()
    for path in modules().values():
        own = path.relative_to(ROOT).as_posix()
        words = set(re.findall(r"\w+", own))
        for folder in re.findall(r"""\bsql\(f?"([a-z_]+)/""", path.read_text()):
            if folder not in words and (own, folder) not in FOREIGN:
                strangers.add((own, folder))
    assert strangers == set()
