"""What is written in a verdict's transaction beside the verdict: next messages, results, arrivals at a barrier.

Dramatiq's middleware sends and stores in hooks that run before the verdict. Written at once, all of it would be
there twice when the worker dies in between and the message runs again, and would stay when the lease was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from dramatiq import Message

from callboard.broker.sending.row import TIME_MS_MAX, OutgoingRow, insert_rows
from callboard.db import sql
from callboard.log import get_logger

if TYPE_CHECKING:
    from callboard.broker.ending.verdict import Verdict

log = get_logger(__name__)


class ResultRow(NamedTuple):
    """A result or an exception, encoded."""

    key: str
    message_id: str
    value: bytes
    ttl_ms: float


@dataclass(slots=True)
class Arrival:
    """A message that counts at its group's barrier, once it is done."""

    key: str
    ttl_ms: float
    #: Sent with the arrival that completes the group.
    callbacks: list[tuple[OutgoingRow, Message[Any], int | None]] = field(default_factory=list)
    #: Set when it is written.
    completes_group: bool = False

    @property
    def event_key(self) -> str:
        """Name of the event that Dramatiq's Barrier tells waiting parties by."""
        return f"{self.key}@events"


def write_effects(cursor: Any, verdicts: Sequence[Verdict]) -> None:
    """Write what comes with these verdicts, in the caller's transaction."""
    rows = [row for verdict in verdicts for row in verdict.followups]
    rows += _arrive(cursor, [verdict.arrival for verdict in verdicts if verdict.arrival is not None])
    write_results(cursor, [result for verdict in verdicts for result in verdict.results])
    if rows:
        insert_rows(cursor, rows)


def write_results(cursor: Any, results: Sequence[ResultRow]) -> None:
    """Store results; of several under one key the last one stays."""
    kept = {result.key: result for result in results}
    if not kept:
        return
    rows = [kept[key] for key in sorted(kept)]
    cursor.execute(
        sql("results/store"),
        {
            "keys": [row.key for row in rows],
            "message_ids": [row.message_id for row in rows],
            "values": [row.value for row in rows],
            "ttls_ms": [min(row.ttl_ms, TIME_MS_MAX) for row in rows],
        },
    )


def _arrive(cursor: Any, arrivals: Sequence[Arrival]) -> list[OutgoingRow]:
    """Count arrivals and return the callbacks of the groups that are complete by them."""
    rows: list[OutgoingRow] = []
    # In the order of keys, so that two batches that count at the same barriers wait for each other in one order.
    for key, group in groupby(sorted(arrivals, key=attrgetter("key")), key=attrgetter("key")):
        members = list(group)
        for arrival in members:
            arrival.completes_group = False  # An earlier try may not have been committed.
        last = members[-1]
        parameters = {"key": key, "parties": len(members), "ttl_ms": min(last.ttl_ms, TIME_MS_MAX)}
        cursor.execute(sql("rate_limits/arrive"), parameters)
        found = cursor.fetchone()
        if found is None:
            log.warning("barrier of a group is gone; its callbacks are not sent", barrier=key)
        elif found[0]:
            last.completes_group = True
            cursor.execute(sql("rate_limits/set_event"), {**parameters, "key": last.event_key})
            rows += [row for row, _, _ in last.callbacks]
    return rows
