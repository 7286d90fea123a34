"""Nothing that strangers sent steers a terminal, forges a line, or runs in the shell of who copies an advice."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import callboard.cli
from tests.acceptance.hostile_rows import FORGED, HOSTILE, trouble_in, write_hostile_rows
from tests.acceptance.processes import REPOSITORY
from tests.acceptance.terminals import Terminal
from tests.unit.pages import commands

#: What each command is asked to do with the hostile rows, often twice; what is in braces is the id of such a message.
ASKED = {
    "status": [[], ["-o", "json"]],
    "stats": [[]],
    "health": [[]],
    "doctor": [[], ["-o", "json"]],
    "audit": [[], ["-o", "json"]],
    "workers": [[], ["-o", "json"], ["-o", "ids"]],
    "queues list": [[], ["-o", "json"], ["-o", "ids"]],
    "queues pause": [[HOSTILE, "--reason", HOSTILE], ["unknown"]],
    "queues resume": [[HOSTILE], ["unknown"]],
    "queues discard": [[HOSTILE, "--dry-run"], ["unknown", "--yes"]],
    "size": [[], [HOSTILE], ["unknown"]],
    "messages list": [[], ["-o", "json"], ["--queue", HOSTILE], ["--queue", "unknown"]],
    "messages show": [["{queued}"], ["{delayed}", "-o", "json"], ["{running}"], ["{done}"], ["{dead}", "--traceback"]],
    "messages explain": [["{queued}"], ["{delayed}"], ["{running}"], ["{done}"], ["{dead}"]],
    "messages cancel": [["{done}", "--yes", "--reason", HOSTILE]],
    "dead list": [[], ["-o", "json"], ["--actor", "unknown"], ["--queue", HOSTILE]],
    "dead groups": [[], ["-o", "json"], ["-o", "ids"]],
    "dead show": [["{dead}"], ["{dead}", "-o", "json"]],
    "dead retry": [["--queue", HOSTILE, "--dry-run"], ["--actor", HOSTILE + "2", "--yes"]],
    "dead discard": [["--queue", HOSTILE, "--dry-run"]],
    "dead purge": [["--queue", HOSTILE, "--dry-run"]],
    "failed": [[], ["{dead}"]],
    "retry": [["all", "--dry-run"]],
    "forget": [["{dead}", "--dry-run"]],
    "flush": [["--dry-run"]],
    "schedules list": [[], ["-o", "json"]],
    "schedules run": [["unknown"]],
    "schedules pause": [[HOSTILE], ["unknown"]],
    "schedules resume": [[HOSTILE]],
    "enqueue": [[HOSTILE], ["send_email", HOSTILE]],
    "db current": [[]],
    "db check": [[]],
    "db grants": [["--producer", HOSTILE]],
    "settings": [[], ["-o", "json"]],
    "processes": [[]],
}
#: These print nothing that is in the database: they run processes, print statements of ours, or send one message.
ELSEWHERE = {
    "demo",
    "dev",
    "work",
    "api",
    "start",
    "stop",
    "restart",
    "logs",
    "db upgrade",
    "db sql",
    "test-email",
    "test",
}

#: Runs commands one after the other in one process, as starting one for each takes longer than all of them.
RUNNER = """
import contextlib, io, json, sys
from callboard.cli import main
for arguments in json.load(sys.stdin):
    sys.argv = ["callboard", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    print(json.dumps({"arguments": arguments, "code": code, "out": out.getvalue(), "err": err.getvalue()}))
"""


@pytest.fixture
def ids(connection):
    return write_hostile_rows(connection)


def test_every_command_is_asked_or_prints_nothing_of_others():
    assert set(commands()) == ASKED.keys() | ELSEWHERE


def test_no_command_lets_hostile_text_through(ids, database_url, tmp_path):
    # Given hostile text in every column
    asked = [
        [*verb.split(), *(word.format(**ids) if word.startswith("{") else word for word in words)]
        for verb in ASKED
        for words in ASKED[verb]
    ]
    # When every command shows it, or is given it
    ran = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(asked),
        env={
            "DATABASE_URL": database_url,
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONIOENCODING": "utf-8",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    # Then none of it comes through
    shown = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(shown) == len(asked)
    through = {
        shlex.join(one["arguments"][:3])[:60]: found for one in shown if (found := trouble_in(one["out"] + one["err"]))
    }
    assert through == {}, through
    assert not any("Traceback (most" in one["err"] for one in shown)
    # And most of them did show it, as escapes
    assert sum(FORGED in one["out"] + one["err"] for one in shown) > len(shown) / 2
    # And JSON says it as it is
    [queues] = [json.loads(one["out"]) for one in shown if one["arguments"] == ["queues", "list", "-o", "json"]]
    assert HOSTILE in {queue["queue_name"] for queue in queues}


@pytest.mark.parametrize(
    "words", [["status"], ["queues", "list"], ["stats"], ["doctor"], ["messages", "list"]], ids=" ".join
)
def test_no_terminal_is_steered(words, ids, database_url):
    terminal = Terminal(80, database_url, *words)
    terminal.end()
    assert len(terminal.screen) > 200
    assert trouble_in(terminal.screen, is_terminal=True) == set()


def test_an_advice_that_is_copied_into_a_shell_names_the_queue_and_runs_nothing_else(ids, database_url, shell):
    found = json.loads(shell.run_callboard("status", "-o", "json").stdout)
    [resume] = [reason["command"] for reason in found["reasons"] if "resume" in reason["command"]]
    assert shlex.split(resume) == ["callboard", "queues", "resume", HOSTILE]
    explained = json.loads(shell.run_callboard("messages", "explain", ids["queued"], "-o", "json").stdout)
    assert shlex.split(explained["advice"].partition(": ")[2]) == ["callboard", "queues", "resume", HOSTILE]


def test_only_one_module_of_the_command_line_prints():
    folder = Path(callboard.cli.__file__).parent
    printing = {
        path.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("print", "echo", "secho")
    }
    assert printing == {"output.py", "base_install.py"}
