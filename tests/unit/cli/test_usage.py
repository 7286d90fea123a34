"""A command line that cannot be meant is answered with names that people know, and the value."""

from __future__ import annotations

import pytest
import typer.main

from callboard.cli import app
from callboard.cli.command_line import usage
from tests.unit.pages import commands


def answer(capsys, *words):
    code = usage.run(usage.name_arguments(typer.main.get_command(app)), words)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(commands()))
def test_neither_help_nor_errors_show_a_name_of_the_code(verb, capsys):
    # Given every command, asked for help and given an option that it lacks
    usage.run(usage.name_arguments(typer.main.get_command(app)), [*verb.split(), "--help"])
    shown = capsys.readouterr()
    code, said = answer(capsys, *verb.split(), "--nonsense")
    # Then no argument is called as a variable is
    assert code == 2 and "--nonsense" in said
    for text in (shown.out, said):
        for line in text.splitlines():
            if line.lstrip().startswith(("Usage:", "Error:")):
                words = line.replace("[OPTIONS]", "").split()
                named = [word for word in words if word[0] in "{[" and word.strip("{}[].|") != ""]
                assert all(word.strip("{}[].").replace("|all", "").isupper() for word in named), line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dead", "list", "--limit", "abc"], "'--limit': must be a number, got 'abc'."),
        (["dead", "list", "--limit=0"], "'--limit': must be 1 or more, got '0'."),
        (["dead", "list", "-o", "yaml"], "'yaml' is not one of 'table', 'json', 'ids'."),
        (["messages", "show"], "Missing argument 'ID'."),
        (["queue:wrok"], "Did you mean 'queues'?"),
        (["supervisorctl"], "All of them: callboard --help"),
        (["work", "--sleep", "3"], "WORKER_INTERVAL_MS"),
    ],
)
def test_the_answer_names_the_thing_shows_the_value_and_says_what_would_do(words, said, capsys):
    code, text = answer(capsys, *words)
    assert code == 2 and said in text
