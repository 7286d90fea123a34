"""Whose liveness session holds what: a process's turn as it must go, then as it goes."""

from __future__ import annotations

from collections.abc import Sequence

from callboard.terms import DUTY_OVERDUE_S
from tests.chaos.lifecycle.model import Model, WorkerRow
from tests.chaos.lifecycle.process import Process
from tests.chaos.lifecycle.tables import Tables


class Sessions:
    """Moves the processes' liveness and the model together."""

    def __init__(self, model: Model, tables: Tables, processes: Sequence[Process]) -> None:
        self._model = model
        self._tables = tables
        self.processes = list(processes)

    def turn(self, process: Process) -> list[tuple[str, str, str]]:
        """Let a process beat, register, lead and look, and return what it rescued."""
        if self._model.now in (row.suspected_at for row in self._model.workers.values()):
            self._tables.hold_suspicions()
        if process.session is None:
            return self._connect(process)
        if process.is_cut:
            assert process.live() == [] and process.session is None
            process.is_cut = False
            return []
        if process.worker_id not in self._model.workers:
            return self._register_again(process)
        return self._beat(process)

    def free(self, backend: int | None) -> None:
        """Note that a session has ended, and its lock with it."""
        for row in self._model.workers.values():
            if row.lock_holder == backend:
                row.lock_holder = None

    def cut(self, process: Process) -> None:
        """End the liveness session of a process from outside."""
        backend = process.session
        self._tables.end_session(backend)
        self.free(backend)
        process.is_cut = True

    def _connect(self, process: Process) -> list[tuple[str, str, str]]:
        row = self._model.workers.get(process.worker_id)
        if row is None:
            row = self._model.workers[process.worker_id] = WorkerRow(self._model.now)
        row.beat_at, row.suspected_at = self._model.now, None
        assert process.live() == [], "a session that has just begun looks for the dead"
        # Under a new key: a session that it lost sight of may keep the old one.
        row.lock_holder = process.session
        assert process.session is not None and process.heartbeat.may_claim
        self._lead(process)
        return []

    def _register_again(self, process: Process) -> list[tuple[str, str, str]]:
        """The turn of a process that was taken for dead meanwhile."""
        backend = process.session
        assert process.live() == [] and process.is_forgotten, "it was not told"
        self._tables.wait_for_end([backend])
        self.free(backend)
        self._model.workers[process.worker_id] = WorkerRow(self._model.now, lock_holder=process.session)
        assert process.session not in (None, backend)
        return []

    def _beat(self, process: Process) -> list[tuple[str, str, str]]:
        row = self._model.workers[process.worker_id]
        row.beat_at, row.suspected_at = self._model.now, None
        told = process.live()
        assert not process.is_forgotten
        if not self._lead(process):
            assert told == [], "one that does not lead rescues"
            return told
        self._model.look()
        expected = self._model.rescue()
        assert told == expected, f"rescued {told}, expected {expected}"
        return told

    def _lead(self, process: Process) -> bool:
        """Settle who leads after a process's beat."""
        if not self._leader_lives():
            self._model.leader = process.worker_id
        leads = self._model.leader == process.worker_id
        assert process.heartbeat.leads == leads
        return leads

    def _leader_lives(self) -> bool:
        row = self._model.workers.get(self._model.leader or "")
        return row is not None and row.lock_holder is not None and self._model.now - row.beat_at <= DUTY_OVERDUE_S
