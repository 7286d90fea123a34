"""A worker process without its threads: production's classes, moved one step at a time by whoever plays it."""

from __future__ import annotations

import atexit
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import dramatiq
from dramatiq import Message
from dramatiq.errors import Retry
from dramatiq.middleware import Shutdown

from callboard.broker import PostgresBroker, completion
from callboard.broker.claiming.claim import Claim
from callboard.broker.claiming.claimer import EMPTY_LEVEL_S, SESSION_SETTINGS, Claimer
from callboard.broker.context import set_current_delivery
from callboard.broker.ending.verdict import Verdict
from callboard.broker.ending.verdict_writer import VerdictWriter
from callboard.broker.liveness.heartbeat import Heartbeat, unregister_parameters
from callboard.broker.running.consumer import finish
from callboard.broker.running.delivery import Delivery
from callboard.broker.sending.doorbell import Doorbell
from callboard.db import connect
from callboard.errors import PermanentError, Postponed
from callboard.terms import Outcome
from middleware.retry_limits import RetryLimits
from tests.chaos.lifecycle.model import Entry

MAX_RETRIES = 2
WAIT_S = 6.0
#: What an actor may end with; None: it returns.
ENDS: dict[str, Callable[[], BaseException] | None] = {
    "returns": None,
    "fails": lambda: Retry(delay=0),
    "fails for a while": lambda: Retry(delay=int(WAIT_S * 1000)),
    "fails for good": lambda: PermanentError("no such mailbox"),
    "waits": lambda: Postponed("rate limit", wait_s=WAIT_S),
    "is shut down": Shutdown,
}


class Killed(BaseException):
    """The process is gone in the middle of a block."""


class _OneTurn:
    """Stands where the liveness thread's stop event stands, and ends its loop after one turn."""

    def __init__(self) -> None:
        self._is_over = True

    def is_set(self) -> bool:
        self._is_over = not self._is_over
        return self._is_over

    def wait(self, _timeout_s: float) -> None:
        """Pass over the pause between two turns."""


class Block(NamedTuple):
    """A completion() that has not ended yet."""

    context: Any
    connection: Any
    delivery: Delivery


class Process:
    """One fake worker process. Stands in for the broker's WorkerSide too."""

    def __init__(self, url: str, queue_names: Sequence[str]) -> None:
        self.worker_id = str(uuid.uuid4())
        self.broker = PostgresBroker(
            url=url, middleware=[RetryLimits(lambda _queue: MAX_RETRIES, min_backoff=1, max_backoff=1)]
        )
        # completion() asks what follows from an actor's success.
        dramatiq.actor(lambda: None, actor_name="job", queue_name=queue_names[0], broker=self.broker)
        self.is_closed = False
        # Nobody listens: each step looks by itself.
        atexit.unregister(self.broker._sender.doorbell.flush)
        self.broker._sender.doorbell = Doorbell(lambda: None)
        self.claimer = Claimer(self.worker_id, queue_names, is_prepared=True, lease_ids=self.lease_ids)
        self.intake = connect(url, application_name="callboard intake", autocommit=True, settings=SESSION_SETTINGS)
        self.verdict_writer = VerdictWriter(lambda: url, self.worker_id, self.written_now, is_prepared=True)
        self.heartbeat = Heartbeat(
            lambda: url,
            self.worker_id,
            queues=queue_names,
            actors=[],
            threads=1,
            on_rescue=lambda queue, _actor, outcome, cause: self.rescued.append((queue, outcome, cause)),
            on_forgotten=self._forget_leases,
            on_cancelled=self._hear_cancelled,
        )
        self.heartbeat._stopping = _OneTurn()
        self.rescued: list[tuple[str, str, str]] = []
        self.is_forgotten = False
        self.held: dict[int, Delivery] = {}
        self.owed: list[Verdict] = []
        self.written: list[tuple[Verdict, Outcome]] = []
        self.block: Block | None = None
        #: Heartbeat sessions that this process lost sight of, but Postgres did not.
        self.forgotten_sessions: list[Any] = []
        #: The liveness session was ended from outside, and this process does not know yet.
        self.is_cut = False
        self.has_turn_alone = False
        #: The queues that had more than their share, and where the last claims ended, as the model knows it.
        self.deep = set(self.claimer.queue_names)
        self.bounds: dict[tuple[str, int], tuple[float, int]] = {}
        self._levels: set[tuple[str, int]] = set()

    @property
    def session(self) -> int | None:
        """The liveness session that this process believes in, by its backend's number."""
        return _backend(self.heartbeat._connection)

    # Life

    def live(self) -> list[tuple[str, str, str]]:
        """Let the liveness thread take one turn, and return what it rescued, sorted."""
        self.rescued, self.is_forgotten = [], False
        self.heartbeat._connected_at = self.heartbeat._rescue_clock = float("-inf")
        self.heartbeat._run()
        return sorted(self.rescued)

    def age(self, seconds: float) -> None:
        """Keep the moments that the claimer remembers in step with the tables' when time is made to pass."""
        bounds = self.claimer._bounds
        self.claimer._bounds = {place: moment - timedelta(seconds=seconds) for place, moment in bounds.items()}

    def lose_sight(self) -> None:
        """Lose the liveness connection without Postgres noticing."""
        self.forgotten_sessions.append(self.heartbeat._connection)
        self.heartbeat._connection = None
        self.heartbeat._disconnect()

    def _forget_leases(self) -> None:
        self.is_forgotten = True
        self.release_unstarted()

    def _hear_cancelled(self, message_ids: Sequence[str]) -> None:
        for delivery in list(self.held.values()):
            if delivery.message_id in message_ids:
                delivery.is_cancelled = True
                self.release(delivery)  # Unless it has started.

    def release_unstarted(self) -> None:
        for delivery in list(self.held.values()):
            self.release(delivery)

    def leave(self) -> None:
        """Say goodbye, as a process that stops in order."""
        self.heartbeat._execute("liveness/unregister", unregister_parameters(self.worker_id))

    def die(self) -> list[int]:
        """Drop every connection without a word; return the backends that end with it."""
        if self.block is not None:
            self.block.connection.close()
            self.leave_block(Killed())
        pooled = [self.verdict_writer._connection, *self.broker.pool._idle]
        connections = [self.intake, self.heartbeat._connection, *self.forgotten_sessions, *pooled]
        backends = [pid for pid in map(_backend, connections) if pid is not None]
        for connection in connections:
            if connection is not None:
                connection.close()
        self.broker.close()
        return backends

    def stop(self, *_: Any) -> None:
        """Nothing runs here that the broker's close() would have to stop."""

    # Work

    def note_depths(self, claimed: Sequence[Entry], names: Sequence[str], per_queue: int, limit: int) -> None:
        """Note which queues filled their share; names are all queues in the order of their turns."""
        if not claimed:
            self.deep = set(names)
            return
        for place, queue_name in enumerate(names):
            before = sum(entry.queue_name in names[:place] for entry in claimed)
            count = sum(entry.queue_name == queue_name for entry in claimed)
            if before < limit:
                self.deep -= {queue_name}
                self.deep |= {queue_name} if count == min(per_queue, limit - before) else set()

    def note_bounds(self, claimed: Sequence[Entry], looked_at: Sequence[str], less_than: int, now: float) -> None:
        """Move the model's bounds after a claim: a queue that was looked at and gave less than so many has ended."""
        for entry in claimed:
            self.bounds[entry.queue_name, entry.priority] = entry.moment
            self._levels.add((entry.queue_name, entry.priority))
        counts = Counter(entry.queue_name for entry in claimed)
        last = {entry.queue_name: entry.priority for entry in claimed}
        for queue_name, priority in self._levels:
            has_ended = queue_name in looked_at and counts[queue_name] < less_than
            if has_ended or priority < last.get(queue_name, priority):
                self.bounds.setdefault((queue_name, priority), (now - EMPTY_LEVEL_S, 0))
        self.bounds = {place: moment for place, moment in self.bounds.items() if place[0] in looked_at}

    def receive(self, claim: Claim, *, starts: bool) -> None:
        delivery = Delivery(Message.decode(claim.message.encode()), claim)
        delivery.holder = self
        self.held[claim.lease_id] = delivery
        if starts:
            assert delivery.start()

    def runnable(self) -> list[Delivery]:
        """Return what is held and not inside a completion()."""
        return [d for d in self.held.values() if self.block is None or self.block.delivery is not d]

    def lease_ids(self) -> list[int]:
        return [*self.held, *(verdict.lease_id for verdict in self.owed)]

    def run(self, delivery: Delivery, how: str, followup: Message[Any] | None) -> None:
        """Run a message to its end as Dramatiq's worker does, with one message sent by a hook."""
        self.broker.emit_before("process_message", delivery)
        make_error = ENDS[how]
        error = make_error() if make_error else None
        if error is not None:
            delivery.stuff_exception(error)
        self.broker.emit_after("process_message", delivery, exception=error)
        if followup is not None:
            self.broker.enqueue(followup)
        finish(delivery)

    def release(self, delivery: Delivery) -> None:
        """Hand back a message unless it has started."""
        if (verdict := delivery.release()) is not None:
            self._end(delivery, verdict)

    def finish(self, delivery: Delivery) -> None:
        """Take the verdict of a message; it is written with the next batch."""
        self._end(delivery, delivery.end())

    def _end(self, delivery: Delivery, verdict: Verdict | None) -> None:
        if verdict is not None:
            self.owed.append(verdict)
        self.held.pop(delivery.lease_id, None)

    def write(self) -> list[tuple[Verdict, Outcome]]:
        """Write what is owed in one batch and return what became of it."""
        batch, self.owed, self.written = self.owed, [], []
        self.verdict_writer._write_until_done(batch)
        return self.written

    def written_now(self, written: Sequence[tuple[Verdict, Outcome]]) -> None:
        self.written.extend(written)

    # completion()

    def enter_block(self, delivery: Delivery) -> None:
        """Enter completion() in a running message and write an effect."""
        self.broker._start(delivery)
        context = completion()
        connection = context.__enter__()
        set_current_delivery(None)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO effect VALUES (%s, %s)", (delivery.claim.message_id, delivery.lease_id))
        self.block = Block(context, connection, delivery)

    def leave_block(self, error: BaseException | None = None) -> None:
        """Leave completion(), with an exception or without. Raises: LeaseLost."""
        assert self.block is not None
        context, self.block = self.block.context, None
        if error is None:
            context.__exit__(None, None, None)
        else:
            assert not context.__exit__(type(error), error, None), "completion() swallowed an exception"


def _backend(connection: Any) -> int | None:
    return None if connection is None or connection.closed else connection.info.backend_pid
