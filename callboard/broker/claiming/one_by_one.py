"""Message by message, where a statement for many fails by what one row holds: the others go on, that one is buried.

It becomes a dead letter with its content and the error, for a person to see. Where not even that can be written, it
waits for an hour. Whether it is the row's fault is asked of a message with nothing odd in it: where that fails alike,
it is the database's, and nothing is buried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg2

from callboard.broker.ending.verdict import AttemptError, DeadReason, Outcome, Verdict
from callboard.broker.running.delivery import Claim
from callboard.db import CALL_TIMEOUT_S, deadline, sql
from callboard.db.rows.values import is_of_a_value, said
from callboard.log import get_logger

log = get_logger(__name__)

#: Messages of one round; each is a round trip.
SINGLY_MAX = 100


class Round(NamedTuple):
    """What claiming one by one brought."""

    claims: list[Claim]
    buried: list[Verdict]
    #: The messages that waited, and those of them that others held.
    found: list[str]
    passed_over: list[str]


def is_of_a_row(error: BaseException) -> bool:
    """Tell whether a claim failed by what a row holds; one that takes too long may hold more than can be read."""
    return is_of_a_value(error) or isinstance(error, psycopg2.errors.QueryCanceled)


def claim_singly(
    connection: Any, worker_id: str, queue_names: Sequence[str], limit: int, *, is_alone: bool = False
) -> Round:
    """Claim up to limit messages one by one.

    Raises: what the claims raise where it is no row's fault.
    """
    _read_as_utf8(connection)
    limit = min(limit, SINGLY_MAX)
    parameters = {
        "queue_names": list(queue_names),
        "worker_id": worker_id,
        "is_alone": is_alone,
        "per_queue": -(-limit // max(len(queue_names), 1)),
        "limit": limit,
    }
    claims: list[Claim] = []
    failed: list[tuple[str, Exception]] = []
    passed_over: list[str] = []
    found = [message_id for (message_id,) in _rows(connection, "claiming/find_claimable", parameters)]
    for message_id in found:
        try:
            claimed = _claim_one(connection, message_id, worker_id)
            claims += claimed
            passed_over += [] if claimed else [message_id]
        except Exception as error:
            if not is_of_a_row(error):
                raise
            failed.append((message_id, error))
    if failed and not claims:
        _require_sound_database(connection, worker_id)
    buried = [bury(connection, message_id, error, worker_id=worker_id, may_wait=True) for message_id, error in failed]
    kept = [verdict for verdict in buried if verdict is not None]
    return Round(claims, kept, found, passed_over)


def take_back_singly(connection: Any, found: Sequence[tuple[str, int | None]], *, is_attempt: bool) -> list[Verdict]:
    """Put messages back that their worker lost, given by id and lease; return what was buried instead."""
    buried: list[Verdict] = []
    for message_id, lease_id in found:
        parameters = {"message_id": message_id, "lease_id": lease_id, "is_attempt": is_attempt}
        try:
            _rows(connection, "ending/take_back_one", parameters)
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
        rows = _rows(connection, "ending/bury", parameters)
    except Exception as second:
        if not is_of_a_value(second):
            raise
        text = said(second)
        log.error("message cannot be moved and waits for an hour", message_id=message_id, error=text)  # noqa: TRY400 - in one line
        _rows(connection, "ending/put_off", {**parameters, "error_message": f"cannot be read: {failure.message}"})
        return None
    if not rows:
        return None
    queue_name, actor_name, _ = rows[0]
    return verdict._replace(queue_name=queue_name, actor_name=actor_name or "unknown")


def _claim_one(connection: Any, message_id: str, worker_id: str) -> list[Claim]:
    parameters = {"message_id": message_id, "worker_id": worker_id}
    return [Claim._make(row) for row in _rows(connection, "claiming/claim_one", parameters)]


def _require_sound_database(connection: Any, worker_id: str) -> None:
    """Raise what a claim raises where a message with nothing odd in it cannot be claimed either."""
    with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute(sql("claiming/insert_probe"))
            [probe_id] = cursor.fetchone()
            cursor.execute(sql("claiming/claim_one"), {"message_id": probe_id, "worker_id": worker_id})
            cursor.fetchall()
        finally:
            if not connection.closed:
                cursor.execute("ROLLBACK")


def _read_as_utf8(connection: Any) -> None:
    # With another encoding, whatever that lacks would look like the row's fault.
    if connection.encoding not in ("UTF8", "UNICODE"):
        connection.set_client_encoding("UTF8")


def _rows(connection: Any, name: str, parameters: dict[str, Any]) -> list[Any]:
    with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
        cursor.execute(sql(name), parameters)
        return list(cursor.fetchall())
