"""How dead letters look in a terminal: a list, causes with their course over time, the story of one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.console import Console

from callboard.cli.output import ago, duration, plain_name, run_time, say, say_lines, styled
from callboard.ops.dead_letters.reading import PARTS, Attempt, DeadGroup, DeadLetter, DeadStory
from callboard.ops.wording import elapsed_s, moment

BLOCKS = "▁▂▃▄▅▆▇█"
#: Width where stdout is no terminal, characters; and from which on there is room for the queue.
WIDTH = 160
WIDE = 130


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts as blocks; a part without any is empty, and one letter among thousands still shows."""
    most = max(counts, default=0)
    return "".join(BLOCKS[-(-count * len(BLOCKS) // most) - 1] if count else " " for count in counts)


def print_letters(letters: Sequence[DeadLetter]) -> None:
    """Print one line a letter, ids always whole; on a narrow terminal a second one for its actor and error."""
    console = _console()
    ids = {
        "id": [letter.message_id for letter in letters],
        "  died": [f"{ago(letter.died_at):>6}" for letter in letters],
    }
    names = {
        "queue": [plain_name(letter.queue_name) for letter in letters],
        "actor": [plain_name(letter.actor_name or "") for letter in letters],
        "reason": [letter.reason for letter in letters],
    }
    is_wide = console.width >= WIDE
    columns = ids | names if is_wide else ids | {"reason": names["reason"]}
    widths = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}
    head = "  ".join(f"{name:{width}}" for name, width in widths.items())
    _print_line(console, f"{head}  error" if is_wide else head, "bold")
    for letter, row in zip(letters, zip(*columns.values(), strict=True), strict=True):
        line = "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths.values(), strict=True))
        error = _error(letter.error_class, letter.error_message)
        _print_line(console, f"{line}  {error}" if is_wide else line)
        if not is_wide:
            place = f"  {letter.actor_name or 'unknown'} in {letter.queue_name}"
            _print_line(console, ": ".join(filter(None, [place, error])), "dim")


def print_groups(groups: Sequence[DeadGroup]) -> None:
    """Print two lines a cause, three where there is little room: how many, when and what; below them, where."""
    console = _console()
    over = f"over {duration((groups[0].counted_until - groups[0].counted_since).total_seconds())}"
    width = max(5, *(len(f"{group.count:,}") for group in groups))
    is_wide = console.width >= WIDE
    head = f"{'group':12}  {'count':>{width}}  {'first':>6}  {'last':>6}  {over:{PARTS}}"
    _print_line(console, f"{head}  cause" if is_wide else head, "bold")
    for group in groups:
        times = f"{ago(group.first_at):>6}  {ago(group.last_at):>6}"
        line = f"{group.fingerprint:12}  {group.count:>{width},}  {times}  {sparkline(group.counts):{PARTS}}"
        cause = _error(group.error_class, group.error_message)
        _print_line(console, f"{line}  {cause}" if is_wide else line)
        if not is_wide:
            _print_line(console, f"  {cause}")
        where = [group.error_place, ", ".join(group.actors or group.queues), ", ".join(group.reasons)]
        _print_line(console, (" " * 14 if is_wide else "  ") + " · ".join(filter(None, where)), "dim")


def print_story(story: DeadStory) -> None:
    """Print all that is kept, as plain text: what is long stays whole."""
    letter = story.letter
    say(f"{letter.message_id}  {letter.actor_name} in {letter.queue_name}")
    facts = {
        "reason": letter.reason,
        "cause": "  ".join(filter(None, [letter.fingerprint, letter.error_place])),
        "sent": moment(letter.enqueued_at),
        "failed first": moment(letter.first_failed_at) if letter.first_failed_at else "",
        "died": moment(letter.died_at),
        "attempts": f"{letter.attempt}, retries {story.retries}, lost workers {story.lost_workers}, "
        f"generation {letter.generation}, priority {story.priority}",
        "dedupe key": story.dedupe_key,
    }
    for name, fact in facts.items():
        if fact:
            say(f"  {name:<13}{fact}")
    say()
    say("message")
    message = story.message
    if isinstance(message, dict):
        message = {name: message.get(name) for name in ("args", "kwargs", "options")}
    say_lines(json.dumps(message, ensure_ascii=False, indent=2))
    say()
    say("attempts")
    shown = None
    for attempt in story.attempts:
        say(_attempt_line(attempt))
        if attempt.error_class:
            say(f"    {_error(attempt.error_class, attempt.error_message)}")
        if attempt.traceback and attempt.traceback != shown:
            shown = attempt.traceback
            say_lines(shown, indent="    ")
        elif attempt.traceback:
            say("    with the same traceback")


def _attempt_line(attempt: Attempt) -> str:
    number = f"{attempt.attempt}" if not attempt.generation else f"{attempt.attempt} of generation {attempt.generation}"
    outcome = f"{attempt.outcome} ({attempt.reason})" if attempt.reason else attempt.outcome
    took = ""
    if attempt.started_at is not None:
        took = f" after {run_time(max(elapsed_s(attempt.started_at, attempt.ended_at), 0))}"
    worker = f", on {attempt.hostname}:{attempt.pid}" if attempt.hostname else ""
    if not worker and attempt.worker_id:
        worker = f", on worker {attempt.worker_id}"
    began = f"began {moment(attempt.started_at)}, " if attempt.started_at else ""
    return f"  {number}: {began}{outcome} {moment(attempt.ended_at)}{took}{worker}"


def _error(error_class: str | None, message: str | None) -> str:
    first_line = (message or "").strip().partition("\n")[0]
    return ": ".join(filter(None, [error_class, first_line]))


def _print_line(console: Console, line: str, style: str = "") -> None:
    console.print(styled(line.rstrip(), style), no_wrap=True, overflow="ellipsis", crop=True)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDTH)
