"""The pages, and how tests read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from callboard.cli import app as cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows_of(name: str, *, section: str = "") -> list[list[str]]:
    """Return the cells of a page's tables, heads and rules left out; of one section, or of all."""
    text = text_of(name)
    if section:
        (text,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    is_rule = [bool(re.fullmatch(r"[|\- :]+", line)) for line in lines]
    kept = [
        line
        for line, rule, next_is_rule in zip(lines, is_rule, [*is_rule[1:], False], strict=True)
        if not (rule or next_is_rule)
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in kept]


def names_of(rows: list[list[str]], column: int = 0) -> list[str]:
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row[column])]


def commands(*, has_aliases: bool = False) -> dict[str, Any]:
    """Return every command by its full name; groups that are hidden are other names of groups that are not."""

    def walk(command: Any, path: tuple[str, ...] = ()) -> Any:
        for name, child in getattr(command, "commands", {}).items():
            is_alias = child.hidden and hasattr(child, "commands")
            if has_aliases or not is_alias:
                yield from walk(child, (*path, name))
        if not hasattr(command, "commands"):
            yield " ".join(path), command

    return dict(walk(typer.main.get_command(cli)))
