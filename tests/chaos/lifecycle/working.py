"""What workers do with messages."""

from __future__ import annotations

import time

from callboard.broker.running.consumer import finish
from callboard.errors import LeaseLost
from callboard.terms import Outcome
from tests.chaos.lifecycle.process import Block, Process
from tests.chaos.lifecycle.stage import IDLE, QUEUES, Stage, pick
from tests.chaos.lifecycle.tables import SLIP_MAX_S


class Working(Stage):
    """Messages are claimed, run, and end."""

    def claim(self, who: int, limit: int, is_full_look: bool, arrives: bool, starts: bool) -> object:
        if not self._entries("queued"):
            return IDLE
        process = self.processes[who]
        claimer, names = process.claimer, list(process.claimer.queue_names)
        claimer._full_look_clock = float("-inf") if is_full_look else time.monotonic()
        if is_full_look:
            process.bounds.clear()
        per_queue = -(-limit // max(len(process.deep), 1))
        looked_at = self.model.looked_at(process.worker_id, names)
        expected = self.model.claimable(process.worker_id, names, process.bounds, per_queue=per_queue, limit=limit)
        has_suspects = bool(self.model.suspects(process.worker_id, names))
        due_in_s = self.model.next_due_in_s(process.worker_id, names)
        found = claimer.claim(process.intake, limit)
        assert [claim.message_id for claim in found.claims] == [entry.message_id for entry in expected]
        assert (found.has_suspects, found.was_full_look) == (has_suspects, is_full_look)
        assert (found.due_in_s is None) == (due_in_s is None)
        assert due_in_s is None or abs(found.due_in_s - due_in_s) < SLIP_MAX_S + 1
        for entry, claim in zip(expected, found.claims, strict=True):
            self.model.take(entry, process.worker_id, claim.lease_id)
            if arrives:
                process.receive(claim, starts=starts)
        process.note_depths(expected, names, per_queue, limit)
        process.note_bounds(expected, looked_at, per_queue if len(expected) < limit else 0, self.model.now)
        self.counts["claimed"] += len(expected)
        return None

    def claim_alone(self, who: int) -> object:
        process = self.processes[who]
        if not self.model.suspects(process.worker_id, process.claimer.queue_names):
            return IDLE
        is_free = not any(other.has_turn_alone for other in self.processes if other is not process)
        if not process.has_turn_alone:
            process.has_turn_alone = process.claimer.take_turn_alone(process.intake)
            assert process.has_turn_alone == is_free
        if not process.has_turn_alone:
            return None
        expected = self.model.suspects(process.worker_id, process.claimer.queue_names)
        claim = next(iter(process.claimer.claim_alone(process.intake).claims), None)
        assert (claim and claim.message_id) == (expected[0].message_id if expected else None)
        if claim is not None:
            self.model.take(expected[0], process.worker_id, claim.lease_id)
            process.receive(claim, starts=True)
            self.counts["suspects claimed alone"] += 1
        return None

    def end_turn_alone(self) -> object:
        for process in self.processes:
            if process.has_turn_alone:
                process.claimer.end_turn_alone(process.intake)
                process.has_turn_alone = False
                return None
        return IDLE

    def run(self, which: int, hows: list[str], key: str | None, has_followup: bool, waits: bool) -> object:
        """Run some messages of a process to their ends; the verdicts are written, or wait for others."""
        process = self._first(which, lambda process: process.runnable())
        if process is None:
            return IDLE
        for how, delivery in zip(hows, process.runnable(), strict=False):
            process.run(delivery, how, self._message(QUEUES[0], 0, key) if has_followup else None)
        return None if waits else self._write(process)

    def write(self, which: int) -> object:
        process = self._first(which, lambda process: process.owed)
        return IDLE if process is None else self._write(process)

    def _write(self, process: Process) -> None:
        expected = self.model.end(process.owed, self.model.begin())
        written = process.write()
        assert [outcome for _, outcome in written] == expected, f"{written}, expected {expected}"
        self.counts["stopped"] += expected.count(Outcome.DISCARDED)
        self.counts["late verdicts"] += expected.count(Outcome.LOST)
        self.counts["batches of several"] += len(expected) > 1

    def enter_completion(self, which: int) -> object:
        process = self._first(which, lambda process: process.runnable() and process.block is None)
        if process is None:
            return IDLE
        process.enter_block(pick(process.runnable(), which))
        return None

    def leave_completion(self, which: int, commits: bool) -> object:
        process = self._first(which, lambda process: process.block)
        if process is None:
            return IDLE
        if commits:
            self._commit(process, process.block)
        else:
            process.leave_block(KeyError("boom"))
            self.counts["completions rolled back"] += 1
        return None

    def _commit(self, process: Process, block: Block) -> None:
        claim = block.delivery.claim
        followup = self._message(QUEUES[1], 0, None)
        process.broker.send_in(block.connection, followup)
        if not self.model.holds(claim.message_id, claim.lease_id):
            try:
                process.leave_block()
            except LeaseLost:
                self.counts["late completions"] += 1
                return
            raise AssertionError(f"completion() committed under lease {claim.lease_id}, which was lost")
        process.leave_block()
        self._store(followup, 0, self.model.begin())
        entry = self.model.messages[claim.message_id]
        entry.state, entry.effect = "done", claim.lease_id
        # Its ack comes after the end, and changes nothing.
        finish(block.delivery)
        assert claim.lease_id not in process.lease_ids()
        self.counts["completions"] += 1

    def reclaim(self, who: int) -> None:
        process = self.processes[who]
        expected = self.model.unknown_to(process.worker_id, process.lease_ids())
        process.claimer.reclaim(process.intake)
        self.model.hand_back(expected)
        self.counts["claims without an answer"] += len(expected)
