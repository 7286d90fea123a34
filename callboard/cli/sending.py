"""callboard enqueue and test-email: send a message by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import typer

from callboard.cli.output import note, say
from callboard.errors import NotFound


def enqueue(
    actor: str = typer.Argument(help="Name of the actor, such as send_email"),
    arguments: str = typer.Argument("{}", help="Its keyword arguments as a JSON object"),
    delay_s: float = typer.Option(0, "--delay", min=0, help="Wait before it runs, s"),
    priority: int = typer.Option(None, help="Lower runs first"),
    dedupe_key: str = typer.Option(None, help="At most one waiting or running message has this key"),
) -> None:
    """Send a message to an actor and print its id."""
    import actors  # noqa: F401 - declares the actors on the broker
    from callboard.app import broker

    if actor not in broker.actors:
        raise NotFound(f"No actor is named {actor!r}. There are: {', '.join(sorted(broker.actors))}.")
    try:
        kwargs = json.loads(arguments)
    except ValueError as error:
        raise typer.BadParameter(f"The arguments are no JSON ({error}): {arguments!r}") from None
    if not isinstance(kwargs, dict):
        raise typer.BadParameter(
            f'The arguments must be a JSON object such as {{"to": "a@example.org"}}, got {arguments!r}'
        )
    options = {name: value for name, value in (("priority", priority), ("dedupe_key", dedupe_key)) if value is not None}
    message = broker.actors[actor].send_with_options(kwargs=kwargs, delay=round(delay_s * 1000) or None, **options)
    say(message.message_id)


def send_test_email(to: str = typer.Argument(help="Address that gets the mail")) -> None:
    """Send a test mail through the queue, to see that workers and mail server do their part."""
    from actors import send_email

    sent_at = datetime.now(UTC).isoformat(timespec="seconds")
    message = send_email.send(to=to, template="test", context={"sent_at": sent_at})
    say(message.message_id)
    note("Queued. A worker sends it; look at it with: callboard status")
