"""Pausing queues for all workers, resuming them, and discarding what waits in one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from callboard.db import sql
from callboard.errors import InvalidRequest, NotFound
from callboard.ops import audit
from callboard.ops.audit import Operator
from callboard.ops.queues.listing import require_known
from callboard.ops.wording import in_a_row

#: Messages that one transaction of a discard takes: half a second's worth.
DISCARD_BATCH = 10_000


def pause_queues(
    cursor: Any,
    queue_names: list[str],
    operator: Operator,
    *,
    until: datetime | None = None,
    is_new_allowed: bool = False,
) -> list[str]:
    """Pause queues, all of them or none, and return their names; a paused one gets the new end and reason.

    Every worker starts nothing of them from 2 s after the commit on; what runs is finished. is_new_allowed pauses also
    a queue that nothing knows of yet. Raises: NotFound for an unknown queue, InvalidRequest.
    """
    names = sorted(set(queue_names))
    if not names or not all(name and "\0" not in name for name in names):
        raise InvalidRequest("Name the queues to pause, as: callboard queues pause emails")
    if not is_new_allowed:
        try:
            require_known(cursor, names)
        except NotFound as error:
            raise NotFound(
                f"{error} Nothing was paused. To pause a queue before its first message, say --force."
            ) from None
    parameters = {"queue_names": names, "until": until, "reason": operator.reason, "changed_by": operator.name}
    cursor.execute(sql("queues/pause"), parameters)
    audit.record(cursor, operator, "queues pause", filter={"queues": names}, count=len(names), details={"until": until})
    return names


def resume_queues(cursor: Any, queue_names: list[str], operator: Operator) -> list[str]:
    """Resume queues, ring for their messages, and return the names of those that were paused. Raises: NotFound."""
    names = sorted(set(queue_names))
    cursor.execute(sql("queues/resume"), {"queue_names": names, "changed_by": operator.name})
    resumed = [row[0] for row in cursor.fetchall()]
    if not resumed:
        require_known(cursor, names)
        raise NotFound(f"Not paused: {in_a_row(names)}. See which are with: callboard queues list")
    audit.record(cursor, operator, "queues resume", filter={"queues": names}, count=len(resumed))
    return resumed


class _Place(NamedTuple):
    """Where a batch ended, in the order of queue_ready_idx."""

    priority: int = -(2**31)
    available_at: datetime | str = "-infinity"
    seq: int = -1


@dataclass(frozen=True, slots=True)
class Discard:
    """A discard on its way: what waited when it was counted, and nothing that came later."""

    queue_name: str
    count: int
    newest_seq: int
    place: _Place = field(default_factory=_Place)
    discarded: int = 0
    #: How much the current pass from the front has taken.
    in_pass: int = 0
    is_complete: bool = False
    #: The rows of the audit log that belong together.
    operation_id: str = field(default_factory=lambda: str(uuid.uuid4()))


def plan_discard(cursor: Any, queue_name: str) -> Discard:
    """Count what waits in a queue, ready or delayed. Raises: NotFound for an unknown queue."""
    cursor.execute(sql("queues/count_waiting"), {"queue_name": queue_name})
    count, newest_seq = cursor.fetchone()
    if count == 0:
        require_known(cursor, [queue_name])
    return Discard(queue_name, count, newest_seq)


def discard_batch(cursor: Any, discard: Discard, operator: Operator, *, limit: int = DISCARD_BATCH) -> Discard:
    """Move one batch to the history as discarded, and return how far it is; one transaction a batch, with its audit.

    Repeat until is_complete. A message that a worker takes meanwhile runs; one that it hands back is found by the next
    pass.
    """
    parameters = {"queue_name": discard.queue_name, "newest_seq": discard.newest_seq, "limit": limit}
    cursor.execute(sql("queues/discard"), {**parameters, **discard.place._asdict()})
    row = cursor.fetchone()
    if row is None:
        # Nothing behind this place: done, unless this pass took something and more was handed back before it.
        return replace(discard, place=_Place(), in_pass=0, is_complete=discard.in_pass == 0)
    count, *place = row
    details = {"operation": discard.operation_id, "of": discard.count}
    audit.record(cursor, operator, "queues discard", filter={"queue": discard.queue_name}, count=count, details=details)
    return replace(discard, place=_Place(*place), discarded=discard.discarded + count, in_pass=discard.in_pass + count)
