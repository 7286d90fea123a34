"""What senders and operators do."""

from __future__ import annotations

from callboard.ops.audit import Operator, operator_of_shell
from callboard.ops.dead_letters.changes import retry_dead
from callboard.ops.dead_letters.filter import DeadFilter
from callboard.ops.messages.cancellation import cancel
from tests.chaos.lifecycle.stage import IDLE, OpenTransaction, Stage, pick
from tests.chaos.lifecycle.tables import until


class Sending(Stage):
    """Messages come, in transactions of their own or of others, and operators stop them or bring them back."""

    def send(self, queue_name: str, priority: int, keys: list[str | None], delay_s: float) -> None:
        for key in keys:
            message = self._message(queue_name, priority, key)
            stored = self.processes[0].broker.enqueue(message, delay=int(delay_s * 1000))
            assert stored.message_id == self._store(message, delay_s, self.model.begin()).message_id

    def send_again(self, which: int) -> object:
        """Send a message once more whose first answer was lost."""
        if not self.model.messages:
            return IDLE
        entry = pick(list(self.model.messages.values()), which)
        message = self._message(entry.queue_name, entry.priority, None).copy(message_id=entry.message_id)
        object.__setattr__(message, "may_be_stored", True)
        self.processes[0].broker.enqueue(message)
        return None

    def send_in(self, which: int, queue_name: str, priority: int, key: str | None, delay_s: float) -> None:
        """Send in one of two transactions that stay open."""
        if len(self.open) < 2:
            self.open.append(OpenTransaction(self.url))
        transaction = pick(self.open, which)
        message = self._message(queue_name, priority, key)
        self.processes[0].broker.send_in(transaction.connection, message, delay=int(delay_s * 1000))
        key = message.options.get("dedupe_key")
        if self.model.holder(queue_name, key) is not None:
            self.counts["dedupe hits"] += 1
            return
        # Its moment is that of the statement; the transaction may be older.
        transaction.sent.append((message, delay_s, self.model.begin()))
        if key is not None:
            self.model.keys_in_flight.add((queue_name, key))

    def end_transaction(self, which: int, commits: bool) -> object:
        if not self.open:
            return IDLE
        transaction = pick(self.open, which)
        self.open.remove(transaction)
        for message, delay_s, event in transaction.sent:
            self.model.keys_in_flight.discard((message.queue_name, message.options.get("dedupe_key")))
            if commits:
                self._store(message, delay_s, event)
        if commits:
            transaction.connection.commit()
        transaction.connection.close()
        self.counts["sent in a commit" if commits else "rolled back"] += len(transaction.sent)
        return None

    # Operators

    def pause(self, queue_name: str, seconds: float | None) -> None:
        self.tables.pause(queue_name, seconds)
        self.model.paused[queue_name] = until(seconds, self.model.now)

    def resume(self) -> object:
        if not self.model.paused:
            return IDLE
        queue_name = min(self.model.paused)
        self.tables.resume(queue_name)
        del self.model.paused[queue_name]
        return None

    def discard(self, queue_name: str) -> None:
        self.processes[0].broker.flush(queue_name)
        self.model.discard(queue_name)

    def cancel(self, which: int) -> object:
        """Cancel a message, wherever it is."""
        running, others = self._entries("running"), list(self.model.messages.values())
        if not running and (which % 4 or not others):
            return IDLE
        entry = pick(running or others, which)
        with self.pool.cursor() as cursor:
            told = cancel(cursor, [entry.message_id], Operator("ann", "cli"))
        lists = {"queued": told.discarded, "running": told.asked}
        assert lists.get(entry.state, told.ended) == [entry.message_id]
        self.counts["asked to stop"] += entry.state == "running"
        self.model.cancel(entry)
        return None

    def revive(self, which: int) -> object:
        """Bring a dead letter back, unless its key is held by another message by now."""
        dead = [e for e in self._entries("dead") if (e.queue_name, e.key) not in self.model.keys_in_flight]
        if not dead:
            return IDLE
        entry = pick(dead, which)
        is_taken = self.model.holder(entry.queue_name, entry.key) is not None
        changed = retry_dead(self.pool.cursor, DeadFilter(ids=(entry.message_id,)), operator_of_shell())
        if is_taken:
            assert not changed.count and [held.message_id for held in changed.held] == [entry.message_id]
        else:
            assert changed.message_ids == (entry.message_id,)
            self.model.revive(entry, self.model.begin())
            self.counts["revived"] += 1
        return None
