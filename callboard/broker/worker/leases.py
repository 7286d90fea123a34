"""The messages that one Worker holds, each under its lease, from the claim to the verdict."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from dramatiq.errors import ActorNotFound, DecodeError

from callboard.broker.claiming.claim import Claim
from callboard.broker.claiming.prefetch import Prefetch
from callboard.broker.ending.verdict import Decision, Verdict
from callboard.broker.running.delivery import Delivery, verdict_of_no_message
from callboard.broker.running.work_queue import WorkQueue
from callboard.errors import Cancelled
from callboard.log import get_logger
from callboard.terms import DeadReason, Outcome

log = get_logger(__name__)

#: How long a claimed message may wait here for a thread, s.
WAIT_HERE_S = 1.0


class Leases:
    """The life of a held message, top to bottom.

    1. receive: the intake hands claims in; what has an actor goes to the worker's threads, what has none is rejected.
    2. Delivery.start: a thread takes it up. Until then it may be released: handed back, which is no attempt.
    3. cancel or give_up: an operator asks it to stop, or nothing can stop it and its process is replaced.
    4. finish: Dramatiq's ack or nack; its verdict is owed to the database from then on, and its slot is free.
    5. take_back: at the end of the grace the others are taken from their threads; a late verdict counts as lost.

    The intake receives, the worker's threads finish, the heartbeat cancels, the main thread takes back. One lock guards
    what is held; each delivery has its own for the moment when it is taken up or handed back.
    """

    def __init__(
        self,
        worker_id: str,
        work_queue: WorkQueue,
        slots: Prefetch,
        *,
        actor_names: Collection[str],
        owe: Callable[[Verdict], None],
        on_room: Callable[[], None],
    ) -> None:
        self.worker_id = worker_id
        self._work_queue = work_queue
        self._slots = slots
        self._actor_names = actor_names
        self._owe = owe
        self._on_room = on_room
        self._lock = threading.Lock()
        self._held: dict[int, Delivery] = {}
        #: The worker has left: nothing that still runs here has a lease any more.
        self.is_closed = False
        #: Attempts that ended here.
        self.messages_ended = 0

    def held(self) -> list[Delivery]:
        """Return the messages this process holds, running or about to."""
        with self._lock:
            return list(self._held.values())

    def is_empty(self) -> bool:
        return not self._held

    def room(self) -> int:
        """Return how many messages can start now."""
        return self._slots.room(len(self._held))

    def running(self, queue_names: Iterable[str]) -> Counter[str]:
        """Return how many messages of each queue run now; queues where none does are there with 0."""
        counts = Counter(dict.fromkeys(queue_names, 0))
        counts.update(delivery.queue_name for delivery in self.held() if delivery.run_s is not None)
        return counts

    def stuck(self) -> list[tuple[int, str]]:
        """Return lease and note of each message that is given up."""
        return [(delivery.lease_id, delivery.stuck_note) for delivery in self.held() if delivery.stuck_note is not None]

    # 1. From the intake

    def receive(self, claims: Iterable[Claim]) -> None:
        """Hand claimed messages to the worker's threads, and bury those that nobody can run."""
        runnable: list[Delivery] = []
        strangers: list[Delivery] = []
        for claim in claims:
            try:
                delivery = Delivery.of(claim)
            except (DecodeError, TypeError) as error:
                self._owe(verdict_of_no_message(claim, error))
                continue
            delivery.holder = self
            (runnable if delivery.actor_name in self._actor_names else strangers).append(delivery)
        with self._lock:
            self._held.update((delivery.lease_id, delivery) for delivery in (*runnable, *strangers))
        self._work_queue.put_all(runnable)
        for delivery in strangers:
            self.reject(delivery, DeadReason.UNKNOWN_ACTOR, ActorNotFound(delivery.actor_name))

    def reject(self, delivery: Delivery, reason: DeadReason, error: Exception) -> None:
        """Make a message that nobody can run a dead letter."""
        delivery.stuff_exception(error)
        delivery.decision = Decision(Outcome.DEAD, reason=reason)
        self.finish(delivery)

    # 2. Before a thread takes it up

    def release(self, delivery: Delivery) -> None:
        """Hand back a message unless it has started."""
        if (verdict := delivery.release()) is not None:
            self._end(delivery, verdict)

    def release_waiting(self) -> None:
        """Hand back what has not started, so that another process takes it at once."""
        for delivery in self.held():
            self.release(delivery)

    def release_overdue(self) -> bool:
        """Hand back what has waited here too long, so that an idle process takes it; return whether anything waits."""
        now, waits = time.monotonic(), False
        for delivery in self.held():
            if not delivery.is_waiting:
                continue
            if now - delivery.claimed_clock > WAIT_HERE_S:
                self.release(delivery)
                self._slots.shrink()
            else:
                waits = True
        return waits

    # 3. Messages that are to stop

    def cancel(self, message_ids: Iterable[str]) -> None:
        """Ask messages that an operator cancelled to stop; one that has not started ends here."""
        asked = set(message_ids)
        for delivery in self.held():
            if delivery.message_id not in asked or delivery.is_cancelled:
                continue
            delivery.is_cancelled = True
            if delivery.is_waiting:
                # It was no attempt; the database knows that it was cancelled and does not put it back.
                self.release(delivery)
            elif not delivery.is_ended:
                log.info("message was asked to stop", message_id=delivery.message_id, actor=delivery.actor_name)
                delivery.interruption.interrupt(Cancelled)

    # 4. and 5. Its end

    def finish(self, delivery: Delivery) -> None:
        """Free the slot of a message and owe the database its verdict, unless its end is written already."""
        self._end(delivery, delivery.end())

    def take_back(self) -> int:
        """Take back from the threads what they still run and return how much it was.

        A thread that finishes after all is late: its lease is gone, and its verdict counts as lost.
        """
        running = [delivery for delivery in self.held() if not delivery.is_ended and delivery.stuck_note is None]
        for delivery in running:
            self._owe(delivery.release_verdict())
        return len(running)

    def _end(self, delivery: Delivery, verdict: Verdict | None) -> None:
        # First owed, then no longer held: whoever lists the leases must see it in one of the two.
        if verdict is not None:
            self._owe(verdict)
        with self._lock:
            self._held.pop(delivery.lease_id, None)
            self._slots.note_end()
            self.messages_ended += delivery.run_s is not None
            is_short = self._slots.is_short(len(self._held))
        if is_short:
            self._on_room()
