"""The connection budget: what the processes of the service may hold at most, and whether Postgres has as many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from callboard.db import sql
from callboard.terms import BEAT_OVERDUE_S

#: Connections of a worker process besides its pool, whatever the number of its queues: intake, completions, liveness.
WORKER_CONNECTIONS = 3


@dataclass(frozen=True)
class ConnectionBudget:
    """What there is and what is needed, worker processes that are about to start included."""

    max_connections: int
    #: Kept by Postgres for superusers and for roles that may use the reserve.
    reserved: int
    #: Open now by programs that are not ours.
    others: int
    worker_processes: int
    pool_size: int
    #: API processes do not register; one is assumed.
    api_processes: int = 1

    @property
    def needed(self) -> int:
        """Connections of all our processes when each holds its most."""
        per_worker = WORKER_CONNECTIONS + self.pool_size
        return self.worker_processes * per_worker + self.api_processes * self.pool_size

    @property
    def available(self) -> int:
        return self.max_connections - self.reserved - self.others

    @property
    def warning(self) -> str | None:
        """The sum in words where it does not come out, and what to do."""
        if self.needed <= self.available:
            return None
        per_worker = WORKER_CONNECTIONS + self.pool_size
        return (
            f"Postgres may run out of connections: {self.worker_processes} worker processes with up to {per_worker} "
            f"each and {self.api_processes} API process with up to {self.pool_size} need {self.needed}, and there are "
            f"{max(self.available, 0)} (max_connections {self.max_connections}, less {self.reserved} reserved and "
            f"{self.others} open by others). Set max_connections to {self.needed + self.reserved + self.others} or "
            "more, or run fewer worker processes."
        )


def read_budget(cursor: Any, *, pool_size: int, starting: int = 0) -> ConnectionBudget:
    """Return the budget for the worker processes that are alive and for `starting` more."""
    cursor.execute(sql("health/connection_figures"), {"beat_overdue_s": BEAT_OVERDUE_S})
    max_connections, reserved, others, alive = cursor.fetchone()
    return ConnectionBudget(max_connections, reserved, others, alive + starting, pool_size)
