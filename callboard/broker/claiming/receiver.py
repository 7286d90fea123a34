"""Who the intake claims for: the runtime of a worker, and whoever stands in for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from callboard.broker.claiming.claim import Claim
from callboard.broker.ending.verdict import Verdict


class Receiver(Protocol):
    """What the intake claims for: the runtime of a worker."""

    def may_claim(self) -> bool:
        """Return whether new messages may start now."""

    def is_idle(self) -> bool:
        """Return whether nothing runs here and no verdict is unwritten."""

    def lease_ids(self) -> list[int]:
        """Return the leases this process holds or owes a verdict."""

    def free_slots(self) -> int:
        """Return how many messages can start now."""

    def release_overdue(self) -> bool:
        """Hand back claimed messages that have waited too long for a thread; return whether any waits."""

    def claiming_ended(self) -> None:
        """Hand back every claimed message that has not started, and, where this process retires, see to its end."""

    def receive(self, claims: Iterable[Claim]) -> None:
        """Take over claimed messages."""

    def note_buried(self, buried: Sequence[Verdict]) -> None:
        """Tell of messages that became dead letters because they could not be claimed."""
