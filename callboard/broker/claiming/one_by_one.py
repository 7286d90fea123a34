"""Claiming message by message, where a claim of many fails by what one row holds: the others go on, that one is buried.

Whether it is the row's fault is asked of a message with nothing odd in it: where that fails alike, it is the
database's, and nothing is buried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg2

from callboard.broker.claiming.claim import Claim
from callboard.broker.ending.burial import SINGLY_MAX, bury, rows_of
from callboard.broker.ending.verdict import Verdict
from callboard.db import CALL_TIMEOUT_S, deadline, sql
from callboard.db.rows.values import is_of_a_value


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
    found = [message_id for (message_id,) in rows_of(connection, "claiming/find_claimable", parameters)]
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


def _claim_one(connection: Any, message_id: str, worker_id: str) -> list[Claim]:
    parameters = {"message_id": message_id, "worker_id": worker_id}
    return [Claim._make(row) for row in rows_of(connection, "claiming/claim_one", parameters)]


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
