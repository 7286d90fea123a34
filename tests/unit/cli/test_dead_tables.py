"""How dead letters look in a terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from callboard.cli.dead_letters import tables as dead_tables
from callboard.cli.dead_letters.tables import WIDE, print_groups, print_letters, print_story, sparkline
from callboard.ops.dead_letters.reading import Attempt, DeadGroup, DeadLetter, DeadStory

NOW = datetime.now(UTC)
LETTER = DeadLetter(
    message_id="6f2b7c1e-0000-4000-8000-000000000001",
    queue_name="payments",
    actor_name="process_payment_event",
    reason="unknown_actor",
    fingerprint="3f9c0a51d2e7",
    error_class="TemporaryError",
    error_message="The mail server [x] answered 451:\nsecond line " + "long " * 50,
    error_place="callboard/mail/smtp/transport.py in send",
    attempt=6,
    generation=0,
    enqueued_at=NOW,
    first_failed_at=None,
    died_at=NOW - timedelta(hours=3),
)
GROUP = DeadGroup(
    fingerprint="3f9c0a51d2e7",
    error_class="TemporaryError",
    error_place="callboard/mail/smtp/transport.py in send",
    error_message=LETTER.error_message,
    message_id=LETTER.message_id,
    reasons=("max_retries",),
    queues=("emails",),
    actors=("send_email",),
    count=4_871,
    first_at=NOW - timedelta(hours=6),
    last_at=NOW - timedelta(seconds=12),
    counts=tuple(range(24)),
    counted_since=NOW - timedelta(hours=6),
    counted_until=NOW,
)


@pytest.fixture(params=[80, 100, 160])
def width(request, monkeypatch):
    monkeypatch.setattr(dead_tables, "_console", lambda: Console(width=request.param))
    return request.param


@pytest.mark.parametrize(
    ("counts", "drawn"),
    [((), ""), ((0, 0), "  "), ((1, 0, 1), "█ █"), ((1, 8), "▁█"), ((1, 100_000), "▁█"), (range(1, 9), "▁▂▃▄▅▆▇█")],
)
def test_counts_are_drawn_as_blocks_and_none_as_nothing(counts, drawn):
    assert sparkline(counts) == drawn


def test_a_list_is_one_line_a_letter_with_whole_ids(capsys, width):
    print_letters([LETTER, replace(LETTER, actor_name=None, error_class=None, error_message=None)])
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines)
    first = lines[1] if width >= WIDE else "".join(lines[1:3])
    assert first.startswith(f"{LETTER.message_id}     3 h  ") and "second line" not in first
    assert all(name in first for name in ("payments", "unknown_actor", "process_payment_event", "TemporaryError: The"))
    assert len(lines) == (3 if width >= WIDE else 5)


def test_a_group_is_two_lines_with_its_course_and_place(capsys, width):
    print_groups([GROUP, replace(GROUP, error_class=None, error_message=None, error_place=None, actors=(), count=1)])
    head, *lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert all(len(line) <= width for line in (head, *lines))
    first, *cause, where = lines[: len(lines) // 2]
    last = lines[-1]
    assert "over 6 h" in head and re.match(r"3f9c0a51d2e7  4,871     6 h +\d+ (?:s|min)   ▁▁", first)
    assert last.strip() == ("emails · max_retries")
    assert "".join([first, *cause]).endswith("  TemporaryError: The mail server [x] answered 451:")
    assert where.strip() == "callboard/mail/smtp/transport.py in send · send_email · max_retries"


def test_an_error_cannot_steer_the_terminal(capsys, width):
    hostile = replace(
        LETTER, actor_name="a\x1b[2J", error_message="\x1b]0;title\x07 \r\u202e gone", error_class="\x9bm"
    )
    print_letters([hostile])
    print_groups([replace(GROUP, error_message=hostile.error_message, error_place="\x1bc", actors=("\x1b[2J",))])
    attempt = Attempt(0, 1, "dead", NOW, NOW, "\x1b[m", "\x1b[2J", "a\n\x1b[2J", "\x1b", None, None, "\x1b[host", 1)
    print_story(DeadStory(hostile, {"args": ["\x1b[2J \x9bm \u202e"]}, "\x1bkey", 0, 0, 0, (attempt,)))
    shown = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "\\x1b[2J" in shown
