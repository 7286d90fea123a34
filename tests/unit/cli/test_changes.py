from __future__ import annotations

import io

import pytest

from callboard.cli.choosing.confirming import approve
from callboard.errors import CallboardError, InvalidRequest, NotFound

WHAT = "dead letters will be put back"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_to_change_is_nothing_matched():
    with pytest.raises(NotFound, match="0 dead letters"):
        approve(0, WHAT, yes=True, dry_run=False)


def test_a_dry_run_says_the_count_and_changes_nothing(capsys):
    assert not approve(5000, WHAT, yes=True, dry_run=True)
    assert "5000 dead letters will be put back" in capsys.readouterr().err


def test_without_a_terminal_it_needs_yes(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(InvalidRequest, match=r"7 dead letters .*--yes"):
        approve(7, WHAT, yes=False, dry_run=False)
    assert approve(7, WHAT, yes=True, dry_run=False)


@pytest.mark.parametrize(("answer", "goes_on"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_it_asks(monkeypatch, capsys, answer, goes_on):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    if goes_on:
        assert approve(7, WHAT, yes=False, dry_run=False)
    else:
        with pytest.raises(CallboardError, match="Nothing was changed"):
            approve(7, WHAT, yes=False, dry_run=False)
    shown = capsys.readouterr()
    assert "7 dead letters will be put back. Go on?" in shown.err and shown.out == ""
