"""Rows of callboard.payments: how they are read and moved."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from callboard.db import sql
from callboard.payments.payment import Payment, ProviderPayment
from callboard.payments.status import Status


def find_payment(cursor: Any, payment_id: str) -> Payment | None:
    """Return the payment with this id of ours, if there is one."""
    return fetch(cursor, "payments/find_payment", {"payment_id": payment_id}) if _is_uuid(payment_id) else None


def lock_reported(cursor: Any, reported: ProviderPayment) -> Payment | None:
    """Lock and return the row a report speaks of, until the transaction ends.

    A row that does not know its provider_id yet is found by the payment_id in the report's metadata.
    """
    by_provider = fetch(cursor, "payments/lock_payment_by_provider_id", {"provider_id": reported.provider_id})
    if by_provider is not None or not _is_uuid(reported.payment_id):
        return by_provider
    return lock_payment(cursor, str(reported.payment_id))


def lock_payment(cursor: Any, payment_id: str) -> Payment | None:
    """Lock and return a row until the transaction ends."""
    return fetch(cursor, "payments/lock_payment", {"payment_id": payment_id})


def fetch(cursor: Any, statement: str, parameters: dict[str, Any]) -> Payment | None:
    """Run a statement that returns the columns of Payment and build the first row."""
    cursor.execute(sql(statement), parameters)
    row = cursor.fetchone()
    if row is None:
        return None
    columns = dict(zip((column.name for column in cursor.description), row, strict=True))
    return Payment(**{**columns, "status": Status(columns["status"])})


def _is_uuid(value: object) -> bool:
    try:
        return str(UUID(str(value))) == str(value).lower()
    except ValueError:
        return False
