"""Declaring periodic messages beside their actor, and checking the declarations where a worker starts.

A producer imports actors too, so declaring stores what it is given and looks at nothing: cronsim and the time zones are
only where workers run.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from dramatiq import Actor, Message
from dramatiq.broker import Broker

from callboard.broker.sending.row import OutgoingRow
from callboard.errors import ConfigurationError, InvalidMessage

CATCH_UPS = ("none", "latest", "all")
#: What a name consists of: it is typed into a shell.
_NAME = re.compile(r"[A-Za-z0-9][\w.:/-]{0,99}", re.ASCII)
_SHOWN_MAX = 200
_NAMESPACE = uuid.UUID("8f0d6d3e-6a52-5d0c-9f0b-0a5b1a1c7c11")

AnyActor = TypeVar("AnyActor", bound=Actor[Any, Any])


@dataclass(frozen=True, slots=True)
class Schedule:
    """A declaration: when to send what."""

    name: str
    actor_name: str
    queue_name: str
    priority: int
    cron: str
    timezone: str = "UTC"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    catch_up: str = "latest"
    dedupe_key: str | None = None

    def message(self, slot_at: datetime, *, sent_at: datetime | None = None) -> Message[Any]:
        """Return the message of a slot; its id is the same whoever makes it."""
        slot = slot_at.astimezone(UTC).isoformat()
        options = {"schedule": self.name, "slot_at": slot}
        if self.dedupe_key is not None:
            options["dedupe_key"] = self.dedupe_key
        return Message(
            queue_name=self.queue_name,
            actor_name=self.actor_name,
            args=(),
            kwargs=dict(self.kwargs),
            options=options,
            message_id=str(uuid.uuid5(_NAMESPACE, f"{self.name}\n{slot}")),
            message_timestamp=int((sent_at or slot_at).timestamp() * 1000),
        )

    def row(self, message: Message[Any]) -> OutgoingRow:
        """Return a message of this schedule as it is stored. Raises: InvalidMessage."""
        return OutgoingRow.of(message, delay_ms=None, default_priority=self.priority)


_declared: WeakKeyDictionary[Broker, list[Schedule]] = WeakKeyDictionary()


def schedule(
    name: str,
    *,
    cron: str,
    timezone: str = "UTC",
    kwargs: Mapping[str, Any] | None = None,
    catch_up: str = "latest",
    dedupe_key: str | None = None,
) -> Callable[[AnyActor], AnyActor]:
    """Send a message to the actor below at every slot of a cron expression; goes above @actor.

    For an actor that is declared elsewhere: schedule("name", cron="0 6 * * *")(some_actor).

    cron has five fields as in a crontab, or six with seconds first, and counts in timezone. kwargs are the actor's
    arguments. catch_up says what becomes of slots that passed by more than a minute with no worker there: "none",
    "latest" (the last one) or "all". dedupe_key is the message's: while one that waits or runs holds it, a slot adds
    none.
    Workers send it, one message a slot whatever their number; a wrong declaration keeps them from starting.
    """

    def declare(actor: AnyActor) -> AnyActor:
        if not isinstance(actor, Actor):
            raise TypeError(f"Schedule {name!r} stands on {actor!r}, which is no actor. Put @schedule above @actor.")
        own = Schedule(
            name=name,
            actor_name=actor.actor_name,
            queue_name=actor.queue_name,
            priority=actor.priority,
            cron=cron,
            timezone=timezone,
            kwargs={} if kwargs is None else kwargs,
            catch_up=catch_up,
            dedupe_key=dedupe_key,
        )
        _declared.setdefault(actor.broker, []).append(own)
        return actor

    return declare


def declared_on(broker: Broker) -> list[Schedule]:
    """Return what is declared for actors of a broker, in the order of their declaration."""
    return [*_declared.get(broker, ())]


def check_schedules(broker: Broker) -> None:
    """Refuse declarations that could never be sent. Raises: ConfigurationError with all of them at once."""
    declared = declared_on(broker)
    problems = [f"Schedule {own.name!r} {what}" for own in declared for what in _problems_of(own)]
    first: dict[Any, Schedule] = {}
    for own in declared:
        other = first.setdefault(_shown(own.name), own)
        if other != own:
            problems.append(
                f"Schedule {own.name!r} is declared twice and differently, for actors {other.actor_name!r} (cron "
                f"{other.cron!r}) and {own.actor_name!r} (cron {own.cron!r}). Give one of them another name."
            )
    if problems:
        raise ConfigurationError(*problems)


def _problems_of(own: Schedule) -> list[str]:
    problems = []
    if not isinstance(own.name, str) or not _NAME.fullmatch(own.name):
        problems.append(
            "has no usable name. Write up to 100 letters, digits and any of . : / _ - such as daily-report."
        )
    if own.catch_up not in CATCH_UPS:
        problems.append(f"has catch_up {own.catch_up!r}. Give one of: {', '.join(CATCH_UPS)}.")
    if not isinstance(own.kwargs, Mapping) or not all(isinstance(name, str) for name in own.kwargs):
        problems.append(f"has kwargs {_shown(own.kwargs)}. Give the actor's arguments by name, as a dict.")
        return problems + _problems_of_cron(own)
    try:
        own.row(own.message(datetime(2000, 1, 1, tzinfo=UTC)))
    except InvalidMessage as error:
        problems.append(f"cannot be sent with kwargs {_shown(dict(own.kwargs))}: {error}")
    return problems + _problems_of_cron(own)


def _problems_of_cron(own: Schedule) -> list[str]:
    try:
        from callboard.broker.schedules.cron import Cron
    except ImportError as error:
        return [f"needs a package that is missing here ({error}). Install callboard[service] where workers run."]
    problems = []
    # Each with a right other one, so that both are named at once.
    for cron, timezone in ((own.cron, "UTC"), ("* * * * *", own.timezone)):
        try:
            Cron.of(cron, timezone)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
