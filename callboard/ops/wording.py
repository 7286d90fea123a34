"""Moments, spans of time, names and commands in sentences for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime

from callboard.plain_text import plain

#: The queues of Callboard's own actors, which every worker serves unless told otherwise.
OWN_QUEUES = frozenset({"emails", "reports", "payments", "maintenance"})

#: Ids that a sentence names one by one.
IDS_SAID_MAX = 10


def span(seconds: float) -> str:
    """Say a span in the largest unit that keeps it a small number: 12 s, 4 min, 3 h, 2 days."""
    for limit, size, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def moment(at: datetime) -> str:
    """Say a moment in UTC; operators, servers and logs are in several zones."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def many(count: int, noun: str) -> str:
    """Say how many of something: 1 process, 2 processes."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def elapsed_s(since: datetime, until: datetime | None = None) -> float:
    return ((until or datetime.now(UTC)) - since).total_seconds()


def in_a_row(names: Iterable[str]) -> str:
    """Say names one after the other; whoever sends a message may choose its queue's."""
    return ", ".join(map(plain, names))


def command(*words: str) -> str:
    """Say a command of ours as a shell takes it: a name may hold blanks, or what a shell would run."""
    return shlex.join(("callboard", *words))


def work_command(queue_names: Iterable[str]) -> str:
    """Say how workers of these queues are started: those of a team's own come with the team's module."""
    modules = () if OWN_QUEUES.issuperset(queue_names) else ("their_module",)
    return command("work", *modules)


def some_ids(ids: Iterable[str]) -> str:
    """Name the first few of many ids."""
    ids = list(ids)
    more = f" and {len(ids) - IDS_SAID_MAX} more" if len(ids) > IDS_SAID_MAX else ""
    return f"{in_a_row(ids[:IDS_SAID_MAX])}{more}"
