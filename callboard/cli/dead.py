"""callboard dead: what failed for good, and running it again."""

from __future__ import annotations

import uuid

import typer

from callboard.cli.output import Form, ago, note, print_json, show
from callboard.errors import NotFound

app = typer.Typer(help="Dead letters: messages that will not be tried again by themselves.", no_args_is_help=True)

OUTPUT = typer.Option(Form.TABLE, "--output", "-o", help="table, json or ids")


def message_id(text: str) -> str:
    """Check an id that a person typed."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no message id. An id looks like {uuid.UUID(int=0)}; list them with: callboard dead list"
        ) from None


MESSAGE_ID = typer.Argument(help="Id of the message", parser=message_id)


@app.command("list")
def list_(
    queue: str = typer.Option(None, help="Only this queue"),
    limit: int = typer.Option(50, min=1, max=10_000, help="Most rows"),
    output: Form = OUTPUT,
) -> None:
    """List the newest dead letters."""
    from callboard.app import get_pool
    from callboard.ops import dead_letters

    with get_pool().cursor() as cursor:
        rows = dead_letters.list_dead(cursor, queue_name=queue, limit=limit)
    if not rows:
        raise NotFound(f"No dead letters{f' in queue {queue!r}' if queue else ''}.")
    columns = {
        "id": lambda row: row.message_id,
        "queue": lambda row: row.queue_name,
        "actor": lambda row: row.actor_name or "",
        "reason": lambda row: row.reason,
        "attempt": lambda row: str(row.attempt),
        "died": lambda row: ago(row.died_at),
        "error": lambda row: (
            f"{row.error_class or ''}: {(row.error_message or '').splitlines()[0][:80] if row.error_message else ''}"
        ),
    }
    show(rows, columns, output, id_of=lambda row: row.message_id)


@app.command("show")
def show_(id_: str = MESSAGE_ID, output: Form = OUTPUT) -> None:
    """Show one dead letter: its message, and every attempt with its error."""
    from callboard.app import get_pool
    from callboard.ops import dead_letters

    with get_pool().cursor() as cursor:
        letter, message, attempts = dead_letters.show_dead(cursor, id_)
    if output is Form.JSON:
        print_json({"dead_letter": letter, "message": message, "attempts": attempts})
        return
    actor, queue, died = letter.actor_name, letter.queue_name, ago(letter.died_at)
    print(f"{letter.message_id}  {actor} in {queue}, died {died} ago: {letter.reason}")
    print_json({"args": message.get("args"), "kwargs": message.get("kwargs"), "options": message.get("options")})
    for attempt in attempts:
        number = f"attempt {attempt.attempt} (generation {attempt.generation})"
        print(f"{number}: {attempt.outcome}, {ago(attempt.ended_at)} ago")
        print(f"  {attempt.error_class}: {attempt.error_message}" if attempt.error_class else "  no error")
    if attempts and attempts[-1].traceback:
        print(attempts[-1].traceback)


@app.command()
def retry(ids: list[str] = typer.Argument(help="Ids of the messages", parser=message_id)) -> None:
    """Put dead letters back into their queues, with full retries and their old id."""
    from callboard.app import get_pool
    from callboard.ops import dead_letters

    with get_pool().cursor() as cursor:
        revived = dead_letters.retry_dead(cursor, ids)
    for id_ in revived:
        print(id_)
    if missing := sorted(set(ids) - set(revived)):
        raise NotFound(f"{len(missing)} of {len(ids)} are no dead letters (any more): {', '.join(missing)}")
    note(f"{len(revived)} put back.")
