"""The story of one message, as a person reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from callboard.cli.output import console, facts, print_table, run_time, say_lines, styled
from callboard.ops.messages.story import MessageRecord, MessageStory
from callboard.ops.wording import elapsed_s, moment, span


def print_story(story: MessageStory, *, has_all_tracebacks: bool) -> None:
    """Print everything about a message: facts, arguments, runs, what operators did, and the last traceback."""
    screen = console()
    print_table(facts(_facts(story)))
    if story.runs:
        screen.print()
        print_table(_runs(story))
    for change in story.changes:
        why = f": {change.reason}" if change.reason else ""
        screen.print()
        screen.print(styled(f"{change.action} by {change.operator} at {moment(change.changed_at)}{why}"))
    with_traceback = [run for run in story.runs if run.traceback]
    for run in with_traceback if has_all_tracebacks else with_traceback[-1:]:
        screen.print(Text(f"\nTraceback of attempt {run.attempt}{_generation(run.generation)}:", style="bold"))
        say_lines(run.traceback or "", indent="  ")
    if len(with_traceback) > 1 and not has_all_tracebacks:
        screen.print(Text(f"\n{len(with_traceback) - 1} earlier: --traceback", style="dim"))


def _facts(story: MessageStory) -> Iterator[tuple[str, str]]:
    record = story.record
    yield "message", record.message_id
    yield "state", _state(record)
    if (holder := story.holder) is not None:
        yield "worker", f"{holder.hostname}:{holder.pid}" if holder.hostname else "gone"
        if holder.stop_requested_at is not None:
            yield "stop", f"asked by {holder.stop_requested_by} at {moment(holder.stop_requested_at)}"
    yield "actor", f"{record.actor_name or 'unknown'} in queue {record.queue_name}, priority {record.priority}"
    yield "sent", f"{moment(record.enqueued_at)}, {span(elapsed_s(record.enqueued_at))} ago"
    counters = f"attempt {record.attempt}, {record.retries} retries, {record.lost_workers} lost workers"
    yield "counted", counters + _generation(record.generation)
    if record.dedupe_key is not None:
        yield "dedupe_key", record.dedupe_key
    for name in ("args", "kwargs", "options"):
        if isinstance(record.message, dict) and (value := record.message.get(name)):
            yield name, json.dumps(value, ensure_ascii=False)


def _state(record: MessageRecord) -> str:
    why = f": {record.reason}" if record.reason else ""
    if record.state == "running" and record.started_at is not None:
        return f"running since {moment(record.started_at)}"
    if record.state in ("queued", "delayed") and record.available_at is not None:
        word = "ready since" if record.state == "queued" else "until"
        return f"{record.state}, {word} {moment(record.available_at)}{why}"
    return f"{record.state} at {moment(record.ended_at)}{why}" if record.ended_at else record.state + why


def _generation(number: int) -> str:
    return f", generation {number}" if number else ""


def _runs(story: MessageStory) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("attempt", "outcome", "started", "took", "worker", "error"):
        table.add_column(
            name, justify="right" if name == "took" else "left", overflow="fold", no_wrap=name == "started"
        )
    for run in story.runs:
        parts = [run.reason, run.error_class, (run.error_message or "").strip()]
        cells = (
            f"{run.attempt}{_generation(run.generation)}",
            run.outcome,
            moment(run.started_at) if run.started_at else "",
            run_time(run.run_s),
            run.worker or "",
            ": ".join(filter(None, parts)),
        )
        # An error may have lines of its own; its cell keeps them together.
        table.add_row(*(styled(cell, keeps_lines=True) for cell in cells))
    return table
