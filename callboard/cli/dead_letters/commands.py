"""callboard dead list, groups and show: what failed for good."""

from __future__ import annotations

import dataclasses

import typer

from callboard.cli.choosing.options import Where
from callboard.cli.dead_letters import changes as dead_changes
from callboard.cli.dead_letters.options import (
    Actor,
    DiedOfOrReason,
    Group,
    Queue,
    Since,
    Until,
    dead_filter,
    transaction,
)
from callboard.cli.dead_letters.tables import print_groups, print_letters, print_story
from callboard.cli.output import Form, note, nothing, print_json, say, say_ids
from callboard.ops.dead_letters import reading as dead_letters
from callboard.ops.dead_letters.filter import DeadFilter, parse_ids

app = typer.Typer(help="Dead letters: messages that will not be tried again by themselves.", no_args_is_help=True)
app.command("retry")(dead_changes.retry)
app.command("discard")(dead_changes.discard)
app.command("purge")(dead_changes.purge)

OUTPUT = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")


@app.command("list")
def list_(
    *,
    queue: Queue = None,
    actor: Actor = None,
    reason: DiedOfOrReason = None,
    group: Group = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    limit: int = typer.Option(50, min=1, max=100_000, help="Most rows"),
    output: Form = OUTPUT,
) -> None:
    """List dead letters, newest first."""
    which = dead_filter(queue=queue, actor=actor, reason=reason, group=group, since=since, until=until, where=where)
    show_list(which, limit, output)


def show_list(which: DeadFilter, limit: int, output: Form) -> None:
    with transaction() as cursor:
        letters = dead_letters.list_dead(cursor, which, limit=limit)
    if not letters:
        raise nothing(f"No dead letters {which}".strip() + ".", output)
    if output is Form.IDS:
        say_ids(letter.message_id for letter in letters)
    elif output is Form.JSON:
        print_json([dataclasses.asdict(letter) for letter in letters])
    else:
        print_letters(letters)
        if len(letters) == limit:
            note(f"The newest {limit}; see all by cause with: callboard dead groups")


@app.command()
def groups(
    *,
    queue: Queue = None,
    actor: Actor = None,
    reason: DiedOfOrReason = None,
    group: Group = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    limit: int = typer.Option(50, min=1, max=100_000, help="Most rows"),
    output: Form = OUTPUT,
) -> None:
    """List the causes of dead letters, the most frequent first: how many, since when, and their course over time."""
    which = dead_filter(queue=queue, actor=actor, reason=reason, group=group, since=since, until=until, where=where)
    with transaction() as cursor:
        found = dead_letters.group_dead(cursor, which, limit=limit)
    if not found:
        raise nothing(f"No dead letters {which}".strip() + ".", output)
    if output is Form.IDS:
        say_ids(cause.fingerprint for cause in found)
    elif output is Form.JSON:
        print_json([dataclasses.asdict(cause) for cause in found])
    else:
        print_groups(found)


@app.command()
def show(id_: str = typer.Argument(metavar="ID", help="Id of the message"), output: Form = OUTPUT) -> None:
    """Show one dead letter: its message, and every attempt with its error. The arguments may hold addresses."""
    show_one(id_, output)


def show_one(id_: str, output: Form) -> None:
    (message_id,) = parse_ids([id_])
    with transaction() as cursor:
        story = dead_letters.show_dead(cursor, message_id)
    if output is Form.IDS:
        say(message_id)
    elif output is Form.JSON:
        print_json(dataclasses.asdict(story))
    else:
        print_story(story)
