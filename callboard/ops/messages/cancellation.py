"""Cancelling messages: a queued one never runs, a running one is asked to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from callboard.db import sql
from callboard.ops import audit
from callboard.ops.audit import IDS_KEPT_MAX, Operator
from callboard.ops.message_ids import parse_message_ids


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of the messages that were to be cancelled: each id stands in one list, in the order it was given."""

    #: Were queued, and will never run.
    discarded: list[str]
    #: Run. Each is asked to stop, and shown as asked until it has.
    asked: list[str]
    #: Had ended before: done, discarded, or a dead letter.
    ended: list[str]
    #: No message is known by that id.
    unknown: list[str]


def cancel(cursor: Any, message_ids: Sequence[str], operator: Operator) -> Cancelled:
    """Cancel messages, in the caller's transaction: commit it at once, as their workers wait for it.

    A message that returns before it hears of it is done all the same; whatever else a running one ends with, it is
    discarded. Raises: InvalidRequest for what is no message id.
    """
    ids = list(parse_message_ids(message_ids))
    parameters = {"message_ids": ids, "requested_by": operator.name, "reason": operator.reason}
    # Statements of their own: this one waits for claims and ends that are being written, the others see what they left.
    cursor.execute(sql("messages/lock"), parameters)
    found = [
        _ids(cursor, name, parameters)
        for name in ("messages/cancel_queued", "messages/cancel_running", "messages/find_ended")
    ]
    discarded, asked, ended = found[0], found[1] - found[0], found[2] - found[0] - found[1]
    cancelled = Cancelled(
        discarded=[each for each in ids if each in discarded],
        asked=[each for each in ids if each in asked],
        ended=[each for each in ids if each in ended],
        unknown=[each for each in ids if each not in discarded | asked | ended],
    )
    if discarded or asked:
        details = {"discarded": len(discarded), "asked": len(asked)}
        count = len(discarded) + len(asked)
        asked_for = {"ids": ids} if len(ids) <= IDS_KEPT_MAX else {"ids": ids[:IDS_KEPT_MAX], "ids_count": len(ids)}
        audit.record(cursor, operator, "messages cancel", filter=asked_for, count=count, details=details)
    return cancelled


def _ids(cursor: Any, name: str, parameters: dict[str, Any]) -> set[str]:
    cursor.execute(sql(name), parameters)
    return {row[0] for row in cursor.fetchall()}
