"""Writing verdicts and what comes with them, a statement for each kind, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from callboard.broker.ending.effects import Arrival, ResultRow
from callboard.broker.ending.parameters import fence, parameters_of
from callboard.broker.ending.verdict import Verdict
from callboard.broker.sending.row import TIME_MS_MAX, OutgoingRow, insert_rows
from callboard.db import sql
from callboard.db.connections.prepared import Prepared
from callboard.errors import TemporaryError
from callboard.log import get_logger
from callboard.terms import Outcome

log = get_logger(__name__)

_STATEMENTS = {
    Outcome.DONE: "ending/end_done",
    Outcome.RETRY: "ending/end_requeue",
    Outcome.POSTPONED: "ending/end_requeue",
    Outcome.RELEASED: "ending/end_requeue",
    Outcome.DISCARDED: "ending/end_requeue",
    Outcome.DEAD: "ending/end_dead",
}
END_DONE = Prepared(
    "callboard_end_done",
    sql("ending/end_done"),
    {"message_ids": "text", "lease_ids": "text", "started_at": "text"},
)


class RowLocked(TemporaryError):
    """Another transaction has locked the row of a message that is to end; nothing of these verdicts is written."""


def write_verdicts(
    cursor: Any, verdicts: Sequence[Verdict], worker_id: str, *, is_prepared: bool = False
) -> dict[int, Outcome]:
    """Write verdicts and what comes with them in the caller's transaction.

    Returns the leases that still held, each with what became of its message: what was asked for, or DISCARDED where an
    operator had cancelled it.

    is_prepared is for connections of our own, straight to Postgres. Raises: RowLocked.
    """
    held: dict[int, Outcome] = {}
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(_STATEMENTS[verdict.outcome], []).append(verdict)
    for name, group in sorted(groups.items()):
        parameters = {**parameters_of(group), "worker_id": worker_id}
        if is_prepared and name == "ending/end_done":
            END_DONE.execute(cursor, parameters)
        else:
            cursor.execute(sql(name), parameters)
        held |= outcomes_of(group, cursor.fetchall())
    unheld = [verdict for verdict in verdicts if verdict.lease_id not in held and verdict.outcome is not Outcome.DONE]
    if unheld:
        cursor.execute(sql("ending/find_locked"), fence(unheld))
        if cursor.fetchone() is not None:
            raise RowLocked("Somebody has locked the row of a message that ended.")
    with_effects = [verdict for verdict in verdicts if verdict.has_effects and verdict.lease_id in held]
    if with_effects:
        write_effects(cursor, with_effects)
    return held


def outcomes_of(verdicts: Sequence[Verdict], rows: Sequence[Sequence[Any]]) -> dict[int, Outcome]:
    """Return the outcome at commit of each lease; rows are a lease id and, after some statements, is_discarded."""
    discarded = {row[0]: True in row[1:2] for row in rows}
    return {
        verdict.lease_id: Outcome.DISCARDED if discarded[verdict.lease_id] else verdict.outcome
        for verdict in verdicts
        if verdict.lease_id in discarded
    }


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
