"""Burying the one message whose row makes a statement fail, so that the others go on.

It becomes a dead letter with its content and the error, for a person to see. Where not even that can be written, it
waits for an hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from callboard.broker.ending.verdict import AttemptError, Verdict
from callboard.db import CALL_TIMEOUT_S, deadline, sql
from callboard.db.rows.values import is_of_a_value, said
from callboard.log import get_logger
from callboard.terms import DeadReason, Outcome

log = get_logger(__name__)

#: Messages of one round; each is a round trip.
SINGLY_MAX = 100


def take_back_singly(connection: Any, found: Sequence[tuple[str, int | None]], *, is_attempt: bool) -> list[Verdict]:
    """Put messages back that their worker lost, given by id and lease; return what was buried instead."""
    buried: list[Verdict] = []
    for message_id, lease_id in found:
        parameters = {"message_id": message_id, "lease_id": lease_id, "is_attempt": is_attempt}
        try:
            rows_of(connection, "ending/take_back_one", parameters)
        except Exception as error:
            if not is_of_a_value(error):
                raise
            verdict = bury(connection, message_id, error, lease_id=lease_id)
            buried += [] if verdict is None else [verdict]
    return buried


def bury(
    connection: Any,
    message_id: str,
    error: Exception,
    *,
    worker_id: str | None = None,
    lease_id: int | None = None,
    may_wait: bool = False,
) -> Verdict | None:
    """Make a dead letter of a message, or let it wait where that fails; return the verdict that was written."""
    # Its first line: the others may show the row.
    failure = replace(AttemptError.of(error), message=said(error), traceback="")
    verdict = Verdict(
        message_id=message_id,
        queue_name="unknown",
        actor_name="unknown",
        lease_id=lease_id or 0,
        outcome=Outcome.DEAD,
        started_at=datetime.now(UTC),
        reason=DeadReason.INVALID,
        error=failure,
    )
    parameters = {
        "message_id": message_id,
        "worker_id": worker_id,
        "lease_id": lease_id,
        "may_wait": may_wait,
        "error_class": failure.error_class,
        "error_message": failure.message,
        "fingerprint": verdict.cause and verdict.cause.fingerprint,
    }
    try:
        rows = rows_of(connection, "ending/bury", parameters)
    except Exception as second:
        if not is_of_a_value(second):
            raise
        text = said(second)
        log.error("message cannot be moved and waits for an hour", message_id=message_id, error=text)  # noqa: TRY400 - in one line
        rows_of(connection, "ending/put_off", {**parameters, "error_message": f"cannot be read: {failure.message}"})
        return None
    if not rows:
        return None
    queue_name, actor_name, _ = rows[0]
    return verdict._replace(queue_name=queue_name, actor_name=actor_name or "unknown")


def rows_of(connection: Any, name: str, parameters: dict[str, Any]) -> list[Any]:
    with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
        cursor.execute(sql(name), parameters)
        return list(cursor.fetchall())
