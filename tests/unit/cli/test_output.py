"""Tables of the command line."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from rich.cells import cell_len

import callboard.cli
from callboard.cli.output import NAME_MAX, Form, console, show


def shown(capsys, names):
    show(names, {"queue": str, "ready": lambda _name: "1"}, Form.TABLE, id_of=str)
    return capsys.readouterr().out.splitlines()


def test_a_name_that_the_api_takes_is_shown_whole(capsys):
    name = "q" * NAME_MAX
    _, line, _ = shown(capsys, [name, "jobs"])
    assert line.split() == [name, "1"]


def test_a_name_without_end_does_not_fill_up_every_row_of_a_table(capsys):
    _, long, short = shown(capsys, ["q" * 1_000_000, "jobs"])
    assert long.split() == ["q" * (NAME_MAX - 1) + "…", "1"]
    assert len(short) < 2 * NAME_MAX


def test_a_text_without_end_is_no_million_lines(capsys):
    show(["x" * 1_000_000], {"name": lambda _: "n", "queues": str, "zone": str}, Form.TABLE, id_of=str)
    assert len(capsys.readouterr().out) < 100_000


@pytest.mark.parametrize("script", ["очень длинный ", "這是一個很長的錯誤訊息", "🙂🙃", "é́́́"])
def test_a_line_under_a_row_is_as_wide_as_the_screen_at_most_in_any_script(capsys, script):
    show(["a"], {"queue": str}, Form.TABLE, id_of=str, below=lambda _: script * 200)
    assert max(map(cell_len, capsys.readouterr().out.splitlines())) <= console().width


def _tables():
    """Every call of show() in the command line, by its columns where they are a dictionary in its module."""
    for path in sorted(Path(callboard.cli.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"callboard.cli.{path.stem}") if path.stem != "__main__" else None
        for name, value in vars(module).items() if module else ():
            if isinstance(value, dict) and value and all(map(callable, value.values())):
                yield pytest.param(value, id=f"{path.stem}.{name}")


@pytest.mark.parametrize("columns", [*_tables()])
@pytest.mark.parametrize("form", Form)
def test_a_table_without_rows_is_its_header_and_no_failure(capsys, columns, form):
    # As on a new database
    show([], columns, form, id_of=str)
    out = capsys.readouterr().out
    if form is Form.TABLE:
        assert out.split() == " ".join(columns).split() and out.count("\n") == 1
    else:
        assert out == ("[]\n" if form is Form.JSON else "")


@pytest.mark.parametrize("column", ["why", "runs", "queues", "value", "id", "ready", "queue"])
def test_a_table_of_any_kind_of_column_may_be_empty(capsys, column):
    show([], {column: str}, Form.TABLE, id_of=str)
    show([], {column: str}, Form.TABLE, id_of=str, below=str)
    assert capsys.readouterr().out == f"{column}\n" * 2
