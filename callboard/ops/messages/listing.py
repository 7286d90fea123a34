"""Messages: finding them by what is known of them, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import psycopg2

from callboard.db import sql
from callboard.db.rows.values import said
from callboard.errors import InvalidRequest, NotFound
from callboard.log import mask_addresses
from callboard.ops.json_paths import path_refusals
from callboard.ops.queues.listing import require_known
from callboard.ops.wording import in_a_row

#: How far back the newest messages are looked for, further and further until enough are found. Only the first where
#: waiting ones are wanted too: each look at those costs as much as any other.
LOOKS_BACK = (timedelta(minutes=10), timedelta(hours=1), timedelta(hours=12), timedelta(days=10))
#: Before anything was sent; Postgres takes it, and '-infinity' would not come back as a datetime.
BEGINNING = datetime(1, 1, 2, tzinfo=UTC)


class State(StrEnum):
    """Where a message is; queued means ready to run, delayed that its moment is still to come."""

    QUEUED = "queued"
    DELAYED = "delayed"
    RUNNING = "running"
    DONE = "done"
    DISCARDED = "discarded"
    DEAD = "dead"


_QUEUED = {State.QUEUED, State.DELAYED}
#: The statement for each place and the states that it knows.
_PLACES: dict[str, set[State]] = {
    "messages/list_live": {*_QUEUED, State.RUNNING},
    "messages/list_dead": {State.DEAD},
    "messages/list_ended": {State.DONE, State.DISCARDED},
}


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """What a list is narrowed down to; None does not narrow.

    since and until are about the moment of sending. path is an SQL/JSON path over the keyword arguments, with the
    positional ones as $args: '$.to == "a@example.org"', '$.context.order_id', '$args[0] == 17'. A message matches when
    the path finds something that is neither false nor null.
    """

    queue_name: str | None = None
    actor_name: str | None = None
    states: Sequence[State] = tuple(State)
    since: datetime | None = None
    until: datetime | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise InvalidRequest(
                f"since {self.since.isoformat()} is later than until {self.until.isoformat()}. Exchange the two."
            )


@dataclass(frozen=True, slots=True)
class MessageLine:
    """A message as lists show it.

    state_at is when it may run (queued, delayed), when it was claimed (running) or when it ended.
    """

    message_id: str
    state: str
    queue_name: str
    actor_name: str | None
    priority: int
    attempt: int
    enqueued_at: datetime
    state_at: datetime | None
    #: Why it waits or died, without mail addresses.
    note: str | None

    @property
    def place(self) -> tuple[datetime, str]:
        """Where it stands in a list; where a page ended, the next one begins."""
        return self.enqueued_at, self.message_id


def list_messages(
    cursor: Any,
    wanted: MessageFilter,
    *,
    limit: int = 50,
    is_oldest: bool = False,
    after: tuple[datetime, str] | None = None,
) -> list[MessageLine]:
    """Return messages that match, by the moment of sending, newest first unless is_oldest.

    after is the place of the last one of the page before. A message keeps its place wherever it goes; in a transaction
    that sees one moment only (REPEATABLE READ) it is found once while it moves.
    Raises: InvalidRequest for a path that is none, NotFound where a queue or actor is unknown and so nothing matches.
    """
    check_path(cursor, wanted.path)
    after_at, after_id = after or (None, None)
    parameters = {
        "after_at": after_at,
        "after_id": after_id,
        "queue_name": wanted.queue_name,
        "actor_name": wanted.actor_name,
        "states": [str(state) for state in wanted.states],
        "row_states": [
            *(["queued"] if _QUEUED & set(wanted.states) else []),
            *(["running"] if State.RUNNING in wanted.states else []),
        ],
        "since": wanted.since,
        "until": wanted.until,
        "path": wanted.path,
        "limit": limit,
        "is_oldest": is_oldest,
    }
    found: list[MessageLine] = []
    for moment in _moments_back(wanted, after_at, is_oldest=is_oldest):
        found = _gather(cursor, parameters, moment)
        if len(found) >= limit:
            break
    if not found:
        _explain_nothing(cursor, wanted)
    return found


def check_path(cursor: Any, path: str | None) -> None:
    """Raise InvalidRequest where a path over the arguments is none."""
    if path is None:
        return
    try:
        # Tried on nothing, and not only read: a variable that there is not is noticed in use.
        cursor.execute("""SELECT jsonb_path_query_first('{}', %s::jsonpath, '{"args": []}', true)""", (path,))
    except (psycopg2.DataError, psycopg2.ProgrammingError, psycopg2.errors.StatementTooComplex, ValueError) as error:
        raise InvalidRequest(
            f"{path!r} is no JSON path ({said(error)}). It looks through the keyword arguments, positional ones are "
            """$args: '$.to == "a@example.org"', '$.context.order_id', '$args[0] == 17'."""
        ) from error


def _gather(cursor: Any, parameters: dict[str, Any], moment: datetime) -> list[MessageLine]:
    """Return the messages sent since a moment, from every place that may hold some of the wanted states."""
    found: list[MessageLine] = []
    is_oldest, limit = parameters["is_oldest"], parameters["limit"]
    for name, states in _PLACES.items():
        if not states & set(parameters["states"]):
            continue
        if len(found) == limit and not is_oldest:
            # What is older than the last of these would not be shown.
            moment = max(moment, found[-1].enqueued_at)
        with path_refusals(parameters["path"]):
            cursor.execute(sql(name), {**parameters, "looked_back_to": moment})
        found += map(_line, cursor.fetchall())
        found.sort(key=lambda line: line.place, reverse=not is_oldest)
        del found[limit:]
    return found


def _line(row: tuple[Any, ...]) -> MessageLine:
    line = MessageLine(*row)
    return line if line.note is None else replace(line, note=mask_addresses(line.note))


def _moments_back(wanted: MessageFilter, after_at: datetime | None, *, is_oldest: bool) -> Iterator[datetime]:
    """Yield the moments to look back to; the last one is as far as it goes."""
    furthest = wanted.since or BEGINNING
    if not is_oldest:
        newest = datetime.now(UTC) if after_at is None else max(after_at, BEGINNING + LOOKS_BACK[-1])
        spans = LOOKS_BACK[:1] if _QUEUED & set(wanted.states) else LOOKS_BACK
        yield from (newest - span for span in spans if newest - span > furthest)
    yield furthest


def _explain_nothing(cursor: Any, wanted: MessageFilter) -> None:
    if wanted.queue_name is not None:
        require_known(cursor, [wanted.queue_name])
    if wanted.actor_name is not None:
        cursor.execute(sql("messages/actors"))
        known = [row[0] for row in cursor.fetchall()]
        if wanted.actor_name not in known:
            names = in_a_row(known) if known else "none has registered yet"
            raise NotFound(f"No worker knows an actor {wanted.actor_name!r}. Known actors: {names}.")
