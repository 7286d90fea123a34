"""A consumer without Dramatiq's Worker: for tools that take messages one by one and say themselves what became of them.

It is a worker process in small: registered, with a lock and a heartbeat of its own, so that what it holds is known to
be held, and runs elsewhere within seconds when it dies.
"""

from __future__ import annotations

import select
import time
import uuid
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dramatiq.broker import Consumer
from dramatiq.errors import DecodeError

from callboard.broker.claiming.claimer import Claimer
from callboard.broker.claiming.intake import CHANNEL
from callboard.broker.ending.statements import RowLocked, write_verdicts
from callboard.broker.ending.verdict import Decision, Verdict
from callboard.broker.liveness.heartbeat import Heartbeat
from callboard.broker.running.delivery import Delivery, verdict_of_no_message
from callboard.db import CALL_TIMEOUT_S, CONNECTION_ERRORS, connect, deadline, schema
from callboard.errors import DatabaseUnavailable
from callboard.log import get_logger
from callboard.terms import DeadReason, Outcome

if TYPE_CHECKING:
    from callboard.broker.hooks import HookedBroker

log = get_logger(__name__)

#: Longest wait between two looks; without LISTEN, and for what a ring misses, s.
LOOK_S = 1.0
#: Wait before a row is tried again that somebody has locked, s.
LOCKED_WAIT_S = 0.05


class StandaloneConsumer(Consumer):
    """Yields messages of one queue, or None when none came within the timeout.

    At most prefetch messages are held: ack(), nack() or requeue() makes room for others, and writes at once. nack()
    makes a dead letter. Messages that lost two workers are left to real workers, which run them alone. Not for
    several threads.
    """

    def __init__(self, broker: HookedBroker, queue_name: str, prefetch: int, timeout_ms: int, *, listens: bool) -> None:
        self._listens = listens
        self._broker = broker
        self._queue_name = queue_name
        self._prefetch = prefetch
        self._timeout_s = timeout_ms / 1000
        self._worker_id = str(uuid.uuid4())
        self._claimed: deque[Delivery] = deque()
        self._held: dict[int, Delivery] = {}
        self._claimer = Claimer(self._worker_id, [queue_name], is_prepared=False, lease_ids=lambda: [*self._held])
        self._connection: Any = None
        self._liveness: Heartbeat | None = None

    def __next__(self) -> Delivery | None:
        """Return the next message. Raises: SchemaOutdated; DatabaseUnavailable when it was away all the time."""
        until = time.monotonic() + self._timeout_s
        while True:
            try:
                if not self._claimed and len(self._held) < self._prefetch:
                    self._claim()
                pause_s = 0.0 if self._claimed else min(LOOK_S, until - time.monotonic())
                if pause_s > 0:
                    self._wait(pause_s)
            except (DatabaseUnavailable, *CONNECTION_ERRORS) as error:
                self._disconnect()
                if time.monotonic() >= until:
                    raise DatabaseUnavailable(str(error).strip()) from error
                time.sleep(0.1)
            if self._claimed:
                return self._claimed.popleft()
            if time.monotonic() >= until:
                return None

    def ack(self, message: Any) -> None:
        """Write that the message is done, or, if it was failed, that it is a dead letter."""
        if message.failed:
            self.nack(message)
        else:
            self._end(message, Decision(Outcome.DONE))

    def nack(self, message: Any) -> None:
        """Make the message a dead letter."""
        self._end(message, Decision(Outcome.DEAD, reason=DeadReason.PERMANENT))

    def requeue(self, messages: Iterable[Any]) -> None:
        """Hand messages back as if they had not been claimed."""
        for message in messages:
            self._end(message, Decision(Outcome.RELEASED))

    def close(self) -> None:
        """Hand back what is held, and leave."""
        self._claimed.clear()
        self._held.clear()
        if self._liveness is not None:
            self._liveness.stop()
            self._liveness = None
        self._disconnect()

    def _claim(self) -> None:
        if self._connection is None:
            self._connect()
        if self._liveness is None or not self._liveness.may_claim:
            return
        self._claimer.hear(self._connection.notifies)
        found = self._claimer.claim(self._connection, self._prefetch - len(self._held))
        if found.buried:
            self._broker.emit_written([(verdict, verdict.outcome) for verdict in found.buried])
        for claim in found.claims:
            try:
                delivery = Delivery.of(claim)
            except (DecodeError, TypeError) as error:
                self._write(verdict_of_no_message(claim, error))
                continue
            self._held[claim.lease_id] = delivery
            self._claimed.append(delivery)

    def _connect(self) -> None:
        self._connection = connect(self._broker.pool.url, application_name="callboard consumer", autocommit=True)
        # What rang meanwhile was not heard.
        self._claimer.look_at_everything()
        with deadline(self._connection, CALL_TIMEOUT_S):
            schema.check_revision(self._connection)
            if self._listens:
                self._connection.cursor().execute(f"LISTEN {CHANNEL}")
        if self._liveness is None:
            self._liveness = Heartbeat(
                lambda: self._broker.pool.url,
                self._worker_id,
                queues=[self._queue_name],
                actors=[],
                threads=self._prefetch,
                on_rescue=self._broker.emit_rescued,
                on_forgotten=self._forget,
                has_lock=self._listens,
            )
            self._liveness.start()

    def _wait(self, pause_s: float) -> None:
        if self._liveness is not None and not self._liveness.may_claim:
            # Registration takes a moment, and says nothing when it is done.
            time.sleep(min(pause_s, 0.02))
        elif not self._connection.notifies:
            poller = select.poll()
            poller.register(self._connection, select.POLLIN)
            if poller.poll(pause_s * 1000):
                self._connection.poll()

    def _forget(self) -> None:
        # What was taken for lost runs elsewhere; what is in the caller's hands finds out when it is ended.
        log.warning("consumer was taken for dead; its messages run elsewhere", queue=self._queue_name)
        while self._claimed:
            self._held.pop(self._claimed.popleft().lease_id, None)

    def _end(self, message: Any, decision: Decision) -> None:
        if message.is_ended:
            return
        message.decision = decision
        self._write(message.verdict())
        message.is_ended = True
        self._held.pop(message.lease_id, None)

    def _write(self, verdict: Verdict) -> None:
        until = time.monotonic() + CALL_TIMEOUT_S
        while True:
            try:
                with self._broker.pool.cursor() as cursor:
                    held = write_verdicts(cursor, [verdict], self._worker_id)
                break
            except RowLocked:
                if time.monotonic() > until:
                    raise
                time.sleep(LOCKED_WAIT_S)
        outcome = held.get(verdict.lease_id, Outcome.LOST)
        if outcome is Outcome.LOST:
            log.warning("late verdict ignored, lease was lost", message_id=verdict.message_id, verdict=verdict.outcome)
        self._broker.emit_written([(verdict, outcome)])

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
