"""callboard dead retry, discard and purge: putting dead letters back, throwing them away, deleting them."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from callboard.cli.choosing.confirming import DryRun, Reason, Yes, approve, operator, progress
from callboard.cli.choosing.options import Where
from callboard.cli.dead_letters.options import (
    Actor,
    All,
    DiedOf,
    Group,
    Ids,
    Queue,
    Since,
    Until,
    check_reason,
    dead_filter,
    transaction,
)
from callboard.cli.output import Form, note, print_json, say_ids
from callboard.errors import CallboardError, InvalidRequest, NotFound
from callboard.ops.dead_letters.canary import End, retry_by_canary
from callboard.ops.dead_letters.changes import Changed, discard_dead, purge_dead, retry_dead
from callboard.ops.dead_letters.edit import Edit, parse_edit, retry_edited
from callboard.ops.dead_letters.filter import DeadFilter, require_choice
from callboard.ops.dead_letters.reading import count_dead
from callboard.ops.moments import check_order, parse_past, parse_span
from callboard.ops.wording import some_ids

#: Letters that stay dead and are said one by one.
SAID_MAX = 10
OUTPUT = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")
Canary = Annotated[bool, typer.Option("--canary", help="Retry one, then ten, then all; stop when one fails again.")]
Wait = Annotated[str, typer.Option("--wait", help="With --canary: how long one and ten may take, such as 60s or 5min.")]
Kwargs = Annotated[
    str | None, typer.Option("--kwargs", help="Change these arguments of one letter first: a JSON object.")
]
ReplaceKwargs = Annotated[
    str | None, typer.Option("--replace-kwargs", help="Give one letter these named arguments in place of its own.")
]
Args = Annotated[str | None, typer.Option("--args", help="Give one letter these positional arguments: a JSON array.")]


def retry(
    *,
    ids: Ids = None,
    queue: Queue = None,
    actor: Actor = None,
    died_of: DiedOf = None,
    group: Group = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    all_: All = False,
    canary: Canary = False,
    wait: Wait = "60s",
    kwargs: Kwargs = None,
    replace_kwargs: ReplaceKwargs = None,
    args: Args = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Form = OUTPUT,
) -> None:
    """Put dead letters back into their queues, with full retries and their old ids. Ids are not asked about again."""
    check_reason(reason)
    wait_s = parse_span(wait, name="--wait").total_seconds()
    which = dead_filter(
        ids, queue=queue, actor=actor, reason=died_of, group=group, since=since, until=until, where=where
    )
    edit = parse_edit(kwargs=kwargs, replace_kwargs=replace_kwargs, args=args)
    if edit != Edit():
        retry_one(which, edit, reason, is_alone=not canary and not all_, dry_run=dry_run, output=output)
        return
    # Without ids it would be all of them.
    is_named = which.ids is not None and which == DeadFilter(ids=which.ids) and not canary
    count = choose(which, "will be put back", is_all=all_, yes=yes or is_named, dry_run=dry_run, output=output)
    if count and canary:
        retry_with_care(which, count, wait_s, reason, output)
    elif count:
        with progress("retrying", count) as advance:
            changed = retry_dead(transaction, which, operator(reason), progress=advance)
        report(changed, "put back", output, is_named=is_named)


def discard(
    *,
    ids: Ids = None,
    queue: Queue = None,
    actor: Actor = None,
    died_of: DiedOf = None,
    group: Group = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    all_: All = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Form = OUTPUT,
) -> None:
    """Throw dead letters away; the history keeps them as discarded."""
    check_reason(reason)
    which = dead_filter(
        ids, queue=queue, actor=actor, reason=died_of, group=group, since=since, until=until, where=where
    )
    discard_chosen(which, is_all=all_, yes=yes, dry_run=dry_run, reason=reason, output=output)


def purge(
    *,
    ids: Ids = None,
    older_than: Annotated[str | None, typer.Option("--older-than", help="Only what died this long ago: 30d.")] = None,
    queue: Queue = None,
    actor: Actor = None,
    died_of: DiedOf = None,
    group: Group = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    all_: All = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    reason: Reason = None,
    output: Form = OUTPUT,
) -> None:
    """Delete dead letters and their attempts for good."""
    check_reason(reason)
    if older_than is not None and until is not None:
        raise InvalidRequest("--older-than and --until say the same thing; give one of them.")
    which = dead_filter(
        ids, queue=queue, actor=actor, reason=died_of, group=group, since=since, until=until, where=where
    )
    if older_than is not None:
        which = dataclasses.replace(which, until=parse_past(older_than, name="--older-than"))
        check_order(which.since, which.until)
    purge_chosen(which, is_all=all_, yes=yes, dry_run=dry_run, reason=reason, output=output)


def discard_chosen(
    which: DeadFilter, *, is_all: bool, yes: bool, dry_run: bool, reason: str | None, output: Form
) -> None:
    if count := choose(which, "will be thrown away", is_all=is_all, yes=yes, dry_run=dry_run, output=output):
        with progress("discarding", count) as advance:
            changed = discard_dead(transaction, which, operator(reason), progress=advance)
        report(changed, "discarded", output)


def purge_chosen(
    which: DeadFilter, *, is_all: bool, yes: bool, dry_run: bool, reason: str | None, output: Form
) -> None:
    if count := choose(which, "will be deleted for good", is_all=is_all, yes=yes, dry_run=dry_run, output=output):
        with progress("deleting", count) as advance:
            changed = purge_dead(transaction, which, operator(reason), progress=advance)
        report(changed, "deleted for good", output)


def choose(which: DeadFilter, what: str, *, is_all: bool, yes: bool, dry_run: bool, output: Form) -> int:
    """Count what is meant and ask; return the count, 0 where nothing is to be done."""
    require_choice(which, is_all=is_all)
    with transaction() as cursor:
        count = count_dead(cursor, which)
    if output is Form.JSON and (dry_run or not count):
        print_json(dataclasses.asdict(Changed()))
    if not count and which.ids:
        raise NotFound(f"These are no dead letters (any more): {some_ids(which.ids)}")
    letters = " ".join(filter(None, ["dead letter" if count == 1 else "dead letters", str(which), what]))
    return count if approve(count, letters, yes=yes, dry_run=dry_run) else 0


def retry_with_care(which: DeadFilter, count: int, wait_s: float, reason: str | None, output: Form) -> None:
    with progress("retrying", count) as advance:
        done = retry_by_canary(transaction, which, operator(reason), wait_s=wait_s, progress=advance, say=note)
    report(done.changed, "put back", output, is_whole=done.end is End.FINISHED)
    if done.end is not End.FINISHED:
        raise CallboardError(str(done))


def retry_one(
    which: DeadFilter, edit: Edit, reason: str | None, *, is_alone: bool, dry_run: bool, output: Form
) -> None:
    if not is_alone or which != DeadFilter(ids=which.ids) or which.ids is None or len(which.ids) != 1:
        raise InvalidRequest("Arguments are changed in one dead letter at a time: give its id and nothing else.")
    if choose(which, "will be put back with other arguments", is_all=False, yes=True, dry_run=dry_run, output=output):
        with transaction() as cursor:
            changed = retry_edited(cursor, which.ids[0], edit, operator(reason))
        report(changed, "put back", output, is_named=True)


def report(changed: Changed, done: str, output: Form, *, is_named: bool = False, is_whole: bool = True) -> None:
    """Say what was done, and what was not. Raises: NotFound, where something that was meant was not changed.

    is_whole: it went through all that was meant, so that what it has not changed is missing.
    """
    if output is Form.JSON:
        print_json(dataclasses.asdict(changed))
    elif (output is Form.IDS or is_named) and changed.message_ids:
        say_ids(changed.message_ids)
    note(f"{changed.count} {done}.")
    kept: list[str] = [f"{letter}." for letter in changed.held[:SAID_MAX]]
    if len(changed.held) > SAID_MAX:
        kept.append(f"{len(changed.held) - SAID_MAX} more stay dead for such a reason; -o json names them.")
    if changed.missing and is_whole:
        kept.append(f"{len(changed.missing)} are no dead letters (any more): {some_ids(changed.missing)}")
    if kept and is_whole:
        raise NotFound("\n".join(kept))
    for line in kept:
        note(line)
