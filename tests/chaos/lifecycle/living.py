"""What becomes of workers."""

from __future__ import annotations

from tests.chaos.lifecycle.process import Process
from tests.chaos.lifecycle.stage import IDLE, JUMP_S, SERVED
from tests.chaos.lifecycle.working import Working


class Living(Working):
    """Workers beat, freeze, lose their locks, die, stop and come back, and rescue what others lost."""

    def live(self, who: int) -> None:
        """One turn of a process's liveness: its heartbeat, and the leader's look for the dead."""
        leases = {lease for process in self.processes for lease in process.lease_ids() if self._is_valid(lease)}
        told = self.sessions.turn(self.processes[who])
        self.counts["rescued"] += len(told)
        self.counts["stopped"] += sum(outcome == "discarded" for _, outcome, _ in told)
        self.counts["died of lost workers"] += sum(outcome == "dead" for _, outcome, _ in told)
        self.counts["leases lost"] += sum(not self._is_valid(lease) for lease in leases)

    def _is_valid(self, lease_id: int) -> bool:
        return any(entry.lease_id == lease_id for entry in self._entries("running"))

    def let_time_pass(self, jumps: int) -> None:
        seconds = jumps * JUMP_S
        self.tables.let_time_pass(seconds)
        self.model.now += seconds
        for process in self.processes:
            process.age(seconds)

    def live_alone(self, who: int) -> None:
        """Let one process live on for half a minute while all others are frozen."""
        self.let_time_pass(3)
        for jumps in (0, 0, 0, 1):
            if jumps:
                self.let_time_pass(jumps)
            self.live(who)
            self.tables.check(self.model)

    def crash(self, who: int) -> object:
        """Let a process take what there is and die over it, and another one rescue it."""
        if not any(self.model.suspects(p.worker_id, p.claimer.queue_names) for p in self.processes):
            if self.claim(who, 5, True, True, True) is IDLE:
                return IDLE
        else:
            self.claim_alone(who)
        self._replace(who)
        self.live_alone((who + 1) % len(self.processes))
        return None

    def disturb(self, who: int, how: str) -> None:
        """Make a worker's beat old, free its lock, or both; let it lose sight of its session; kill it."""
        process = self.processes[who]
        has_session = process.session is not None and not process.is_cut
        row = self.model.workers.get(process.worker_id)
        if how in ("silent", "both") and row is not None:
            self.tables.silence(process.worker_id, 3 * JUMP_S)
            row.beat_at -= 3 * JUMP_S
        if how in ("unlocked", "both") and has_session:
            self.sessions.cut(process)
        elif how == "forgotten" and has_session:
            process.lose_sight()
        elif how == "killed":
            self._replace(who)
        self.counts[how] += 1

    def stop(self, who: int) -> object:
        """Stop a process in order: what has not started and what still runs goes back, uncounted."""
        process = self.processes[who]
        if not process.held or process.block is not None or process.session is None or process.is_cut:
            return IDLE
        process.release_unstarted()
        if process.owed:
            self._write(process)
        process.leave()
        self.model.hand_back(e for e in self._entries("running") if e.worker_id == process.worker_id)
        self.model.workers.pop(process.worker_id, None)
        self._replace(who)
        return None

    def _replace(self, who: int) -> None:
        """End a process without a word, and start another in its place, which registers with its first turn."""
        backends = self.processes[who].die()
        self.tables.wait_for_end(backends)
        for backend in backends:
            self.sessions.free(backend)
        self.processes[who] = self.sessions.processes[who] = Process(self.url, SERVED[who])
