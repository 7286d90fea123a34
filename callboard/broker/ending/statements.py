"""Writing verdicts and what comes with them, a statement for each kind, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from callboard.broker.ending.effects import write_effects
from callboard.broker.ending.parameters import fence, parameters_of
from callboard.broker.ending.verdict import Outcome, Verdict
from callboard.db import sql
from callboard.db.connections.prepared import Prepared
from callboard.errors import TemporaryError

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
