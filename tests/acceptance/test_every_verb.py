"""No verb of `callboard` without a test that runs it as a process, on a real database."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.test_operations_page import recorded
from tests.unit.pages import commands

#: What a test calls with the words of a command.
RUNNERS = frozenset({"run_callboard", "callboard", "run", "Terminal"})


def words_of(call: ast.Call) -> list[str]:
    """Return the words that a call of a runner begins with."""
    words = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    return [word for word in words if isinstance(word, str)]


def calls(path: Path) -> Iterator[list[str]]:
    """Yield what a test file runs, as words."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in RUNNERS:
                yield words_of(node)


def test_every_verb_is_run_by_a_test():
    run = [words for path in sorted(Path(__file__).parent.glob("test_*.py")) for words in calls(path)]
    run += [step.command.split()[1:] for step in recorded() if re.match(r"callboard\b", step.command)]
    missing = [verb for verb in commands() if not any(words[: len(verb.split())] == verb.split() for words in run)]
    assert missing == []
