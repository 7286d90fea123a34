"""The states of a payment: created < pending < waiting_for_capture < succeeded | canceled, only forward."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where a payment stands; all but created are YooKassa's own words."""

    CREATED = "created"
    PENDING = "pending"
    WAITING_FOR_CAPTURE = "waiting_for_capture"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """No report moves it any more."""
        return self in FINAL


FINAL = frozenset({Status.SUCCEEDED, Status.CANCELED})
_RANK = {
    Status.CREATED: 0,
    Status.PENDING: 1,
    Status.WAITING_FOR_CAPTURE: 2,
    Status.SUCCEEDED: 3,
    Status.CANCELED: 3,
}


def advance(current: Status, reported: Status) -> Status:
    """Return where a payment stands after a report, whatever came late, twice or out of order."""
    return reported if _RANK[reported] > _RANK[current] else current


def contradicts(current: Status, reported: Status) -> bool:
    """Say whether a report denies a final state: succeeded there and canceled here, or the reverse."""
    return current.is_final and reported.is_final and current is not reported
