"""How dead letters look in a terminal: a list, causes with their course over time, the story of one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from callboard.cli.output import ago, duration
from callboard.ops.dead_letters import Attempt, DeadGroup, DeadLetter, DeadStory

BLOCKS = "▁▂▃▄▅▆▇█"
#: Width where stdout is no terminal, characters; and from which on there is room for the queue.
WIDTH = 160
WIDE = 130


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts as blocks; a part without any is empty, and one letter among thousands still shows."""
    most = max(counts, default=0)
    return "".join(BLOCKS[-(-count * len(BLOCKS) // most) - 1] if count else " " for count in counts)


def print_letters(letters: Sequence[DeadLetter]) -> None:
    """Print one line a letter; queue and reason where there is room for them, ids always whole."""
    console = _console()
    columns: dict[str, list[str]] = {
        "id": [letter.message_id for letter in letters],
        "died": [ago(letter.died_at) for letter in letters],
        "queue": [letter.queue_name for letter in letters],
        "actor": [letter.actor_name or "" for letter in letters],
        "reason": [letter.reason for letter in letters],
    }
    if console.width < WIDE:
        del columns["queue"], columns["reason"]
    table = _table()
    for name, cells in columns.items():
        justify: JustifyMethod = "right" if name == "died" else "left"
        table.add_column(name, no_wrap=True, justify=justify, min_width=max(map(len, cells)))
    table.add_column("error", no_wrap=True, overflow="ellipsis")
    for letter, row in zip(letters, zip(*columns.values(), strict=True), strict=True):
        error = _error(letter.error_class, letter.error_message)
        table.add_row(*map(Text, row), Text(error, no_wrap=True, overflow="ellipsis"))
    console.print(table)


def print_groups(groups: Sequence[DeadGroup]) -> None:
    table = _table()
    table.add_column("group", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("first", justify="right", no_wrap=True)
    table.add_column("last", justify="right", no_wrap=True)
    since = duration((groups[0].counted_until - groups[0].counted_since).total_seconds())
    table.add_column(f"over {since}", no_wrap=True)
    table.add_column("cause", ratio=1)
    for group in groups:
        error = Text(_error(group.error_class, group.error_message), no_wrap=True, overflow="ellipsis")
        where = [group.error_place, ", ".join(group.actors or group.queues), ", ".join(group.reasons)]
        line = Text(" · ".join(filter(None, where)), style="dim", no_wrap=True, overflow="ellipsis")
        first, last = ago(group.first_at), ago(group.last_at)
        cause = Table.grid(padding=0)
        cause.add_row(error)
        cause.add_row(line)
        table.add_row(group.fingerprint, f"{group.count:,}", first, last, sparkline(group.counts), cause)
    _console().print(table)


def print_story(story: DeadStory) -> None:
    """Print all that is kept, as plain text: what is long stays whole."""
    letter = story.letter
    print(f"{letter.message_id}  {letter.actor_name} in {letter.queue_name}")
    facts = {
        "reason": letter.reason,
        "cause": "  ".join(filter(None, [letter.fingerprint, letter.error_place])),
        "sent": _moment(letter.enqueued_at),
        "failed first": _moment(letter.first_failed_at),
        "died": _moment(letter.died_at),
        "counts": f"{letter.attempt} attempts, {story.retries} retries, {story.lost_workers} lost workers, "
        f"generation {letter.generation}, priority {story.priority}",
        "dedupe key": story.dedupe_key,
    }
    for name, fact in facts.items():
        if fact:
            print(f"  {name:<13}{fact}")
    print("\nmessage")
    message = story.message
    if isinstance(message, dict):
        message = {name: message.get(name) for name in ("args", "kwargs", "options")}
    print(json.dumps(message, ensure_ascii=False, indent=2))
    print("\nattempts")
    shown = None
    for attempt in story.attempts:
        print(_attempt_line(attempt))
        if attempt.error_class:
            print(f"    {_error(attempt.error_class, attempt.error_message)}")
        if attempt.traceback and attempt.traceback != shown:
            shown = attempt.traceback
            print("".join(f"    {line}\n" for line in shown.splitlines()), end="")
        elif attempt.traceback:
            print("    with the same traceback")


def _attempt_line(attempt: Attempt) -> str:
    number = f"{attempt.attempt}" if not attempt.generation else f"{attempt.attempt} of generation {attempt.generation}"
    outcome = f"{attempt.outcome} ({attempt.reason})" if attempt.reason else attempt.outcome
    took = ""
    if attempt.started_at is not None:
        took = f" after {max((attempt.ended_at - attempt.started_at).total_seconds(), 0):.3g} s"
    worker = f", on {attempt.hostname}, process {attempt.pid}" if attempt.hostname else ""
    if not worker and attempt.worker_id:
        worker = f", on worker {attempt.worker_id}"
    began = f"began {_moment(attempt.started_at)}, " if attempt.started_at else ""
    return f"  {number}: {began}{outcome} {_moment(attempt.ended_at)}{took}{worker}"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _error(error_class: str | None, message: str | None) -> str:
    first_line = (message or "").strip().partition("\n")[0]
    return ": ".join(filter(None, [error_class, first_line]))


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
