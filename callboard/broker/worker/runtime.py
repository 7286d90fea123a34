"""What a broker runs inside a worker process: intake, completions and liveness, and the leases it holds."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from dramatiq.errors import ActorNotFound, DecodeError

from callboard.broker.claiming.intake import UNWRITTEN_MAX, Intake
from callboard.broker.claiming.prefetch import Slots
from callboard.broker.ending.verdict import DeadReason, Outcome, Verdict
from callboard.broker.ending.verdict_writer import Completions
from callboard.broker.liveness.heartbeat import Liveness
from callboard.broker.running.delivery import Claim, Delivery, verdict_of_no_message
from callboard.broker.running.interruptible_actor import make_interruptible
from callboard.broker.schedules.declaration import declared_on
from callboard.broker.worker.shutdown import Stopping
from callboard.errors import Cancelled
from callboard.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dramatiq.worker import Worker

    from callboard.broker.broker import PostgresBroker
    from callboard.broker.running.work_queue import WorkQueue

log = get_logger(__name__)

#: How long a claimed message may wait here for a thread, s.
WAIT_HERE_S = 1.0
#: Silence of the intake beyond its poll interval that means it hangs, s.
STALL_TIMEOUT_S = 120.0
#: Time the verdicts get before a process that was told twice leaves, s.
LEAVE_FLUSH_S = 1.5


class WorkerSide:
    """The database's part of one worker process, tied to Dramatiq's Worker."""

    def __init__(self, broker: PostgresBroker, worker: Worker) -> None:
        #: Drawn anew at each boot: a host name or pid may come again, and would inherit a dead worker's messages.
        self.worker_id = str(uuid.uuid4())
        self._broker = broker
        self._work_queue = cast("WorkQueue", worker.work_queue)
        self._worker = worker
        options, url = broker.options, lambda: broker.pool.url
        # In strict order nothing is claimed ahead: it would keep its slot when a message of an earlier queue comes.
        self._slots = Slots(worker.worker_threads, is_ahead=not options.queue_order)
        self._held: dict[int, Delivery] = {}
        self._lock = threading.Lock()
        self._is_stopping = False
        #: It has left: nothing that still runs here has a lease any more.
        self.is_closed = False
        #: Attempts that ended here.
        self.jobs_ended = 0
        self.stopping = Stopping(self, worker)
        self.queue_names = _in_order([name for name in broker.queues if name in worker.consumers], options.queue_order)
        self.completions = Completions(url, self.worker_id, self._written, is_prepared=options.listens)
        self.intake = Intake(
            url,
            self.worker_id,
            self,
            queue_names=self.queue_names,
            poll_interval_s=options.poll_interval_s,
            claim_max=options.claim_max,
            listens=options.listens,
            is_strict=bool(options.queue_order),
            errand=options.errand,
        )
        self.liveness = Liveness(
            url,
            self.worker_id,
            queues=self.queue_names,
            actors=[(a.actor_name, a.queue_name, a.priority) for a in broker.actors.values()],
            threads=self._slots.threads,
            on_rescue=broker.emit_rescued,
            on_forgotten=self._forget_leases,
            has_lock=options.listens,
            on_registered=self.intake.wake,
            on_cancelled=self.cancel,
            on_buried=self.note_buried,
            hearing=self.intake.hearing,
            schedules=declared_on(broker),
            on_send=broker.emit_scheduled,
        )

    def start(self) -> None:
        for actor in self._broker.actors.values():
            make_interruptible(actor)
        self.completions.start()
        self.liveness.start()
        self.intake.start()
        self.stopping.install()

    def add_queue(self, queue_name: str) -> None:
        """Consume a queue that was declared after the worker's start, unless its queues are limited to others."""
        if queue_name in self._worker.consumers:
            self.queue_names.append(queue_name)
            self.intake.add_queue(queue_name)

    def stop_claiming(self) -> None:
        """Claim nothing more and hand back what has not started, so that another process takes it at once."""
        self._is_stopping = True
        self.intake.stop()
        self.release_waiting()

    def stop_claiming_soon(self) -> None:
        """Let the intake end and hand back what has not started; fits a signal handler, as it takes no lock."""
        self._is_stopping = True
        self.intake.ask_to_stop()

    def hand_back(self) -> int:
        """Take back from the threads what they still run and return how much it was.

        A thread that finishes after all is late: its lease is gone, and its verdict counts as lost.
        """
        running = [delivery for delivery in self.held() if not delivery.is_ended and delivery.stuck_note is None]
        for delivery in running:
            self.completions.submit(delivery.release_verdict())
        return len(running)

    def end_threads(self) -> None:
        """Let the worker's and the consumers' threads end now: they would notice up to a second later each."""
        for thread in (*self._worker.workers, *self._worker.consumers.values()):
            thread.stop()
        self._work_queue.close()
        self._broker.end_waits()

    def leave(self) -> None:
        """Leave at once: hand back everything, then forget the worker's row. Dramatiq exits right after."""
        self.stop_claiming_soon()
        self.release_waiting()
        self.hand_back()
        self.completions.flush(LEAVE_FLUSH_S)
        self.liveness.leave(self.stuck())

    def stop(self) -> None:
        """Write what is owed and leave; what still runs is handed back with the worker's row."""
        self._is_stopping = True
        self.intake.stop()
        # Looked up first: one that ends meanwhile is written, or is lost, but was not released.
        stuck = self.stuck()
        self.completions.close()
        self.liveness.stop(stuck)
        self.is_closed = True
        self.stopping.uninstall()

    # Messages that are to stop

    def cancel(self, message_ids: Iterable[str]) -> None:
        """Ask messages that an operator cancelled to stop; one that has not started ends here."""
        asked = set(message_ids)
        for delivery in self.held():
            if delivery.message_id not in asked or delivery.is_cancelled:
                continue
            delivery.is_cancelled = True
            if delivery.is_waiting:
                # It was no attempt; the database knows that it was cancelled and does not put it back.
                self._broker.release(delivery)
            elif not delivery.is_ended:
                log.info("message was asked to stop", message_id=delivery.message_id, actor=delivery.actor_name)
                delivery.interruption.interrupt(Cancelled)

    def give_up(self, delivery: Delivery, note: str) -> bool:
        """Count a message that nothing stops as lost and let this process be replaced; False where it is not ours.

        Its neighbours get the grace of any other stop.
        """
        if not self.stopping.is_own_process:
            return False
        delivery.stuck_note = note
        self.stopping.begin_replacement()
        return True

    def stuck(self) -> list[tuple[int, str]]:
        """Return lease and note of each message that is given up."""
        return [(delivery.lease_id, delivery.stuck_note) for delivery in self.held() if delivery.stuck_note is not None]

    # Receiver of the intake

    def may_claim(self) -> bool:
        return (
            self.liveness.may_claim
            and self.completions.unwritten < UNWRITTEN_MAX
            and not any(thread.paused for thread in self._worker.workers)
        )

    def is_idle(self) -> bool:
        return not self._held and not self.completions.unwritten

    def free_slots(self) -> int:
        return self._slots.room(len(self._held))

    def lease_ids(self) -> list[int]:
        """Return the leases this process knows of: what it holds and what it owes a verdict."""
        return [delivery.lease_id for delivery in self.held()] + self.completions.lease_ids()

    def release_waiting(self) -> None:
        """Hand back what has not started, so that another process takes it at once."""
        for delivery in self.held():
            self._broker.release(delivery)

    def claiming_ended(self) -> None:
        self.release_waiting()
        self.stopping.retire_when_idle()

    def release_overdue(self) -> bool:
        """Hand back what has waited here too long, so that an idle process takes it; return whether anything waits."""
        now, waits = time.monotonic(), False
        for delivery in self.held():
            if not delivery.is_waiting:
                continue
            if now - delivery.claimed_clock > WAIT_HERE_S:
                self._broker.release(delivery)
                self._slots.shrink()
            else:
                waits = True
        return waits

    def receive(self, claims: Iterable[Claim]) -> None:
        """Hand claimed messages to the worker's threads, and bury those that nobody can run."""
        runnable: list[Delivery] = []
        strangers: list[Delivery] = []
        for claim in claims:
            try:
                delivery = Delivery.of(claim)
            except (DecodeError, TypeError) as error:
                self.completions.submit(verdict_of_no_message(claim, error))
                continue
            delivery.side = self
            (runnable if delivery.actor_name in self._broker.actors else strangers).append(delivery)
        with self._lock:
            self._held.update((delivery.lease_id, delivery) for delivery in (*runnable, *strangers))
        self._work_queue.put_all(runnable)
        for delivery in strangers:
            self._broker.reject(delivery, DeadReason.UNKNOWN_ACTOR, ActorNotFound(delivery.actor_name))

    def note_buried(self, buried: Sequence[Verdict]) -> None:
        """Tell middleware of messages that became dead letters because they could not be claimed or ended."""
        if buried:
            self._written([(verdict, verdict.outcome) for verdict in buried])

    # Ends of leases

    def finish(self, delivery: Delivery, verdict: Verdict | None) -> None:
        """Free the slot of a message; verdict is None where its end is written already."""
        # First owed, then no longer held: lease_ids() must see it in one of the two.
        if verdict is not None:
            self.completions.submit(verdict)
        with self._lock:
            self._held.pop(delivery.lease_id, None)
            self._slots.note_end()
            self.jobs_ended += delivery.run_s is not None
            is_short = self._slots.is_short(len(self._held))
        if is_short:
            self.intake.wake()

    def _forget_leases(self) -> None:
        """Let go of everything after others took this process for dead: what has not started must not."""
        self.release_waiting()  # Fenced; a claim that the rescue did not see is handed back by it.

    def _written(self, written: Sequence[tuple[Verdict, Outcome]]) -> None:
        self._broker.emit_written(written)
        if any(outcome in (Outcome.RETRY, Outcome.POSTPONED) for _, outcome in written):
            # This process may be the only one: its own wait for the next due message must be made anew.
            self.intake.wake()

    def held(self) -> list[Delivery]:
        """Return the messages this process holds, running or about to."""
        with self._lock:
            return list(self._held.values())

    def running(self) -> Counter[str]:
        """Return how many messages of each queue run now; queues where none does are there with 0."""
        counts = Counter(dict.fromkeys(self.queue_names, 0))
        counts.update(delivery.queue_name for delivery in self.held() if delivery.run_s is not None)
        return counts

    def failing(self) -> str | None:
        """Return what has failed for some seconds although this process lives, or None."""
        parts = (self.liveness, self.intake, self.completions)
        return next((reason for part in parts if (reason := part.failing.reason())), None)

    def stalled(self) -> str | None:
        """Return why this process should be replaced, or None. A database that is away is no reason."""
        # A process that retires works on without claiming.
        expected = [] if self._is_stopping else [("intake", self.intake.thread)]
        if not self._is_stopping or self.stopping.is_retiring:
            expected += [("completions", self.completions.thread), ("liveness", self.liveness.thread)]
        for name, thread in expected:
            # One that has not been started has no number yet: the process is starting.
            if thread.ident is not None and not thread.is_alive():
                return f"the {name} thread has ended"
        silent_s = time.monotonic() - self.intake.cycle_clock
        allowed_s = self._broker.options.poll_interval_s + STALL_TIMEOUT_S
        if silent_s > allowed_s and not self._is_stopping:
            return f"the intake has done nothing for {silent_s:.0f} s"
        return None


def _in_order(consumed: Sequence[str], order: Sequence[str]) -> list[str]:
    """Return the queues as an order names them, then the others by name."""
    return [name for name in order if name in consumed] + sorted(name for name in consumed if name not in order)
