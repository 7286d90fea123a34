"""callboard messages: finding them, the story of one, why one does not run, and cancelling them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from callboard.cli.choosing.confirming import DryRun, Reason, Yes, approve, operator
from callboard.cli.choosing.options import Where, read_ids
from callboard.cli.messages.story import print_story
from callboard.cli.output import Form, ago, count, duration, is_wide, note, nothing, print_json, say, show
from callboard.errors import InvalidRequest, NotFound
from callboard.ops.message_ids import parse_message_ids
from callboard.ops.messages.listing import MessageFilter, MessageLine, State

app = typer.Typer(help="Messages: find them, see what happened to one, explain, cancel.", no_args_is_help=True)

#: Looking through a million messages by their arguments takes a while, s.
FILTER_TIMEOUT_S = 60


def message_id(text: str) -> str:
    """Check an id that a person typed."""
    return parse_message_ids([text])[0]


Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of messages; - reads them from stdin.")]
OUTPUT = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")
ID = typer.Argument(help="Id of the message", parser=message_id)


@app.command("list")
def list_(
    *,
    queue: str = typer.Option(None, help="Only of this queue."),
    actor: str = typer.Option(None, help="Only of this actor."),
    state: list[State] = typer.Option([], help="Only in this state; may be given several times."),
    since: str = typer.Option(None, help="Only what was sent since: 2h, 7d, 2026-11-24T18:00."),
    until: str = typer.Option(None, help="Only what was sent before: 2h, 7d, 2026-11-24T18:00."),
    where: Where = None,
    limit: int = typer.Option(50, min=1, max=100_000, help="Most rows"),
    oldest: bool = typer.Option(False, "--oldest", help="Oldest first; without --state only what has not ended."),
    output: Form = OUTPUT,
) -> None:
    """List messages wherever they are, by the moment of sending, newest first."""
    from callboard.app import get_pool
    from callboard.ops import moments
    from callboard.ops.messages import listing as messages

    # What has waited longest is asked for, not what the history forgets next.
    all_states = (State.QUEUED, State.DELAYED, State.RUNNING) if oldest else tuple(State)
    wanted = MessageFilter(
        queue_name=queue,
        actor_name=actor,
        states=tuple(state) or all_states,
        since=None if since is None else moments.parse_past(since, name="--since"),
        until=None if until is None else moments.parse_past(until, name="--until"),
        path=where,
    )
    moments.check_order(wanted.since, wanted.until)
    with get_pool().cursor(FILTER_TIMEOUT_S) as cursor:
        rows = messages.list_messages(cursor, wanted, limit=limit, is_oldest=oldest)
    if not rows:
        raise nothing("No message matches.", output)
    _print(rows, output)
    if output is Form.TABLE and len(rows) == limit:
        note(f"The first {limit} of them; --limit shows more.")


def _print(rows: list[MessageLine], output: Form) -> None:
    columns = {
        "id": lambda row: row.message_id,
        "state": lambda row: row.state,
        "queue": lambda row: row.queue_name,
        "actor": lambda row: row.actor_name or "",
        "attempt": lambda row: count(row.attempt),
        "sent": lambda row: ago(row.enqueued_at),
        "moment": _moment,
        "why": lambda row: row.note or "",
    }
    if output is not Form.TABLE or is_wide():
        show(rows, columns, output, id_of=lambda row: row.message_id)
        return
    narrow = {name: columns[name] for name in ("id", "state", "attempt", "moment")}
    show(rows, narrow, output, id_of=lambda row: row.message_id, below=_place_and_why, left_out=["sent"])


def _place_and_why(line: MessageLine) -> str:
    place = f"{line.actor_name or 'unknown'} in {line.queue_name}"
    return f"{place}: {line.note}" if line.note else place


def _moment(line: MessageLine) -> str:
    if line.state_at is None:
        return ""
    if line.state == State.DELAYED:
        return f"in {duration((line.state_at - datetime.now(UTC)).total_seconds())}"
    span = ago(line.state_at)
    return {State.QUEUED: f"ready {span}", State.RUNNING: f"for {span}"}.get(State(line.state), f"{span} ago")


@app.command("show")
def show_(
    id_: str = ID,
    traceback: bool = typer.Option(False, "--traceback", help="Every attempt's traceback, not only the last one's."),
    output: Form = OUTPUT,
) -> None:
    """Show a message wherever it is: its state, its arguments, every attempt, and what operators did to it."""
    from callboard.app import get_pool
    from callboard.ops.messages import story as message_stories

    with get_pool().cursor() as cursor:
        story = message_stories.tell_story(cursor, id_)
    if output is Form.IDS:
        say(story.record.message_id)
    elif output is Form.JSON:
        print_json(story)
    else:
        print_story(story, has_all_tracebacks=traceback)


@app.command()
def explain(
    id_: str = typer.Argument(None, metavar="ID", help="Id of the message", parser=message_id),
    dedupe_key: str = typer.Option(None, "--dedupe-key", help="Explain the message that holds this key"),
    queue: str = typer.Option(None, help="The key's queue"),
    output: Form = OUTPUT,
) -> None:
    """Say why a message is not running, and what to do."""
    from callboard.app import get_pool, get_settings
    from callboard.ops.messages import explanation as explanations
    from callboard.ops.messages import story as message_stories

    if (id_ is None) == (dedupe_key is None) or (dedupe_key is None) != (queue is None):
        raise InvalidRequest("Give the id of a message, or --dedupe-key KEY with its --queue NAME.")
    with get_pool().cursor() as cursor:
        if dedupe_key is not None:
            id_ = message_stories.find_by_key(cursor, queue, dedupe_key)
            note(
                f"The dedupe_key {dedupe_key!r} of queue {queue} is held by {id_}: other sends with it return that id."
            )
        found = explanations.explain(cursor, id_, retry_limit=get_settings().max_retries)
    if output is Form.JSON:
        print_json({"message_id": id_, "code": found.code, "sentence": found.sentence, "advice": found.advice})
    elif output is Form.IDS:
        say(id_)
    else:
        say(found.sentence)
        say(found.advice)
    if found.code in ("unknown", "forgotten"):
        raise typer.Exit(3)


@app.command()
def cancel(ids: Ids, yes: Yes = False, dry_run: DryRun = False, reason: Reason = None) -> None:
    """Cancel messages: a waiting one never runs, a running one is asked to stop."""
    from callboard.app import get_pool
    from callboard.ops.messages import cancellation as cancellations
    from callboard.ops.wording import some_ids

    ids = list(dict.fromkeys(map(message_id, read_ids(ids))))
    messages = "message" if len(ids) == 1 else "messages"
    if not approve(len(ids), f"{messages} will be cancelled", yes=yes, dry_run=dry_run):
        return
    with get_pool().cursor() as cursor:
        done = cancellations.cancel(cursor, ids, operator(reason))
    for id_ in (*done.discarded, *done.asked):
        say(id_)
    if done.discarded:
        note(f"{len(done.discarded)} never run.")
    if done.asked:
        note(f"{len(done.asked)} run and were asked to stop; see whether they have: callboard messages show ID")
    if done.ended:
        note(f"{len(done.ended)} had ended already: {some_ids(done.ended)}")
    if done.unknown or not (done.discarded or done.asked):
        missing = some_ids(done.unknown) if done.unknown else "none"
        raise NotFound(f"{len(done.discarded) + len(done.asked)} of {len(ids)} cancelled; unknown ids: {missing}.")
