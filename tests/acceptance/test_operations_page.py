"""The recorded session of docs/operations.md happens again as it stands there, with a real worker."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import dramatiq
import pytest

from callboard.broker import PostgresBroker
from tests.acceptance.processes import START_TIMEOUT_S
from tests.conftest import wait_until
from tests.unit.pages import text_of

PAGE, SECTION = "docs/operations.md", "It is 3 a.m."
#: A line of the page that stands for any number of lines.
LEFT_OUT = "…"
ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
#: All that may differ between the page and a new night; what stands in its place when the two are compared.
VARIES = (
    ("‹id›", ID),
    ("‹moment›", re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b")),
    ("‹span›", re.compile(r"\b\d[\d.]* (?:ms|s|min|h|d)\b")),
    ("‹who›", re.compile(r"\bann@[\w.-]+")),
    ("on ‹host›", re.compile(r"\bon [\w.-]+:\d+")),
    # No digits: the folder, and the parts of a course over time
    ('File "‹folder›/', re.compile(r'File "/[^"]*/(?=\w+\.py")')),
    ("‹course›", re.compile("[▁▂▃▄▅▆▇█](?:[▁▂▃▄▅▆▇█ ]*[▁▂▃▄▅▆▇█])?")),
    (" ", re.compile(r"\s+")),
)
#: Dead letters of each cause: actor, arguments, how many, over how many seconds until now they died.
NIGHT = (
    ("bill_order", {"goods": "tea", "quantity": 2}, 240, 40 * 60),
    ("bill_order", {"goods": "coffee", "quantity": 0}, 45, 5 * 3600),
    ("confirm_order", {"to": "ann@example.org"}, 15, 5 * 3600),
)
COUNT = sum(count for *_, count, _ in NIGHT)


@dataclass
class Step:
    """A command of the page and what it printed there."""

    command: str
    printed: list[str] = field(default_factory=list)


def recorded() -> list[Step]:
    """Return the session that stands on the page."""
    (section,) = re.findall(rf"^## {re.escape(SECTION)}\n(.*?)(?=^## |\Z)", text_of(PAGE), re.MULTILINE | re.DOTALL)
    (session,) = re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    steps: list[Step] = []
    for line in session.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line.removeprefix("$ ")))
        elif line:
            steps[-1].printed.append(line)
    return steps


def same(line: str) -> str:
    """Return a line without what may differ."""
    for name, pattern in VARIES:
        line = pattern.sub(name, line)
    return line.strip()


def compare(expected: list[str], printed: list[str], ids: dict[str, str]) -> None:
    """Hold lines equal to the page's, and learn which id stands for which. Raises: AssertionError."""
    left = iter(printed)
    may_skip = False
    for line in expected:
        if line.strip() == LEFT_OUT:
            may_skip = True
            continue
        found = next(left, "nothing more")
        while may_skip and same(found) != same(line) and found != "nothing more":
            found = next(left, "nothing more")
        assert same(found) == same(line), "The page and the command differ."
        for theirs, ours in zip(ID.findall(line), ID.findall(found), strict=True):
            assert ids.setdefault(theirs, ours) == ours, "One id of the page is two messages."
        may_skip = False
    assert may_skip or not list(left), "The command prints more than the page."


@pytest.fixture
def night(shell, database_url, db):
    """A shop whose price list lost the tea: 300 dead letters of three causes, and a worker that goes on running."""
    shutil.copy(Path(__file__).with_name("orders.py"), shell.folder)
    (shell.folder / "prices.json").write_text('{"coffee": 3.80}')
    (shell.folder / "callboard").write_text(f'#!/bin/sh\nexec {sys.executable} -m callboard.cli "$@"\n')
    (shell.folder / "callboard").chmod(0o755)
    broker = PostgresBroker(url=database_url, middleware=[])
    for actor, kwargs, count, _ in NIGHT:
        for _ in range(count):
            broker.enqueue(dramatiq.Message(queue_name="orders", actor_name=actor, args=(), kwargs=kwargs, options={}))
    broker.close()
    shell.dramatiq("orders")
    wait_until(lambda: letters(db) == COUNT, START_TIMEOUT_S, "the dead letters")
    for actor, kwargs, count, over_s in NIGHT:
        spread(db, actor, kwargs, count, over_s)


def letters(db):
    return db("SELECT count(*) FROM callboard.dead_letters")[0][0]


def spread(db, actor, kwargs, count, over_s):
    """Move letters and their attempts back, evenly, as if they had died over so long a time."""
    earlier = (
        "WITH earlier AS (SELECT message_id, (row_number() OVER (ORDER BY died_at DESC) - 0.5) * %s "
        "* interval '1 second' AS by FROM callboard.dead_letters WHERE actor_name = %s "
        "AND message -> 'kwargs' = %s::jsonb) "
    )
    parameters = (over_s / count, actor, dramatiq.get_encoder().encode(kwargs).decode())
    db(
        f"{earlier} UPDATE callboard.dead_letters AS letter SET died_at = died_at - by, "
        "first_failed_at = first_failed_at - by, enqueued_at = enqueued_at - by "
        "FROM earlier WHERE earlier.message_id = letter.message_id",
        *parameters,
    )
    db(
        f"{earlier} UPDATE callboard.attempts AS attempt SET started_at = started_at - by, ended_at = ended_at - by "
        "FROM earlier WHERE earlier.message_id = attempt.message_id",
        *parameters,
    )


def test_the_session_on_the_page_happens_again_line_by_line(shell, night, db):
    ids: dict[str, str] = {}
    steps = recorded()
    assert len(steps) > 5
    for step in steps:
        command = ID.sub(lambda found: ids.get(found[0], found[0]), step.command)
        # Unbuffered, so that data and notes come in the order in which a terminal shows them.
        environment = {"PATH": f"{shell.folder}:/usr/bin:/bin", "LOGNAME": "ann", "PYTHONUNBUFFERED": "1"}
        done = shell.run("sh", "-c", f"exec 2>&1; {command}", **environment)
        try:
            compare(step.printed, done.stdout.splitlines(), ids)
        except AssertionError as error:
            raise AssertionError(f"{error}\n\n$ {command}\n{done.stdout}") from error
        # What was put back ends before the next command, as it has for a person who reads what was printed.
        wait_until(lambda: not db("SELECT 1 FROM dramatiq.queue"), START_TIMEOUT_S, "an empty queue")
