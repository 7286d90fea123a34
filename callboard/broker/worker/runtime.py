"""What a broker runs for one Worker: intake, verdict writer and heartbeat, started and stopped together."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, cast

from callboard.broker.claiming.intake import UNWRITTEN_MAX, Intake
from callboard.broker.claiming.prefetch import Prefetch
from callboard.broker.ending.verdict import Verdict
from callboard.broker.ending.verdict_writer import VerdictWriter
from callboard.broker.liveness.heartbeat import Heartbeat
from callboard.broker.running.interruptible_actor import make_interruptible
from callboard.broker.schedules.declaration import declared_on
from callboard.broker.worker.leases import Leases
from callboard.broker.worker.shutdown import Shutdown
from callboard.terms import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dramatiq.worker import Worker

    from callboard.broker.claiming.claim import Claim
    from callboard.broker.hooks import HookedBroker
    from callboard.broker.options import BrokerOptions
    from callboard.broker.running.delivery import Delivery
    from callboard.broker.running.work_queue import WorkQueue

#: Silence of the intake beyond its poll interval that means it hangs, s.
STALL_TIMEOUT_S = 120.0
#: Time the verdicts get before a process that was told twice leaves, s.
LEAVE_FLUSH_S = 1.5


class WorkerRuntime:
    """The database's part of one worker process, tied to Dramatiq's Worker."""

    def __init__(
        self, broker: HookedBroker, worker: Worker, options: BrokerOptions, *, end_waits: Callable[[], None]
    ) -> None:
        #: Drawn anew at each boot: a host name or pid may come again, and would inherit a dead worker's messages.
        self.worker_id = str(uuid.uuid4())
        self._broker = broker
        self._work_queue = cast("WorkQueue", worker.work_queue)
        self._worker = worker
        self._end_waits = end_waits
        self._poll_interval_s = options.poll_interval_s

        def url() -> str:
            return broker.pool.url

        self._is_stopping = False
        self.shutdown = Shutdown(self, worker)
        self.queue_names = _in_order([name for name in broker.queues if name in worker.consumers], options.queue_order)
        self.verdict_writer = VerdictWriter(url, self.worker_id, self._written, is_prepared=options.listens)
        self.leases = Leases(
            self.worker_id,
            self._work_queue,
            # In strict order nothing is claimed ahead: it would keep its slot when a message of an earlier queue comes.
            Prefetch(worker.worker_threads, is_ahead=not options.queue_order),
            actor_names=broker.actors,
            owe=self.verdict_writer.submit,
            on_room=self._wake,
        )
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
        self.heartbeat = Heartbeat(
            url,
            self.worker_id,
            queues=self.queue_names,
            actors=[(a.actor_name, a.queue_name, a.priority) for a in broker.actors.values()],
            threads=worker.worker_threads,
            on_rescue=broker.emit_rescued,
            # Others took this process for dead: what has not started must not. What the rescue missed is fenced.
            on_forgotten=self.leases.release_waiting,
            has_lock=options.listens,
            on_registered=self.intake.wake,
            on_cancelled=self.leases.cancel,
            on_buried=self.note_buried,
            hearing=self.intake.listening,
            schedules=declared_on(broker),
            on_send=broker.emit_scheduled,
        )

    def start(self) -> None:
        for actor in self._broker.actors.values():
            make_interruptible(actor)
        self.verdict_writer.start()
        self.heartbeat.start()
        self.intake.start()
        self.shutdown.install()

    def add_queue(self, queue_name: str) -> None:
        """Consume a queue that was declared after the worker's start, unless its queues are limited to others."""
        if queue_name in self._worker.consumers:
            self.queue_names.append(queue_name)
            self.intake.add_queue(queue_name)

    def stop_claiming(self) -> None:
        """Claim nothing more and hand back what has not started, so that another process takes it at once."""
        self._is_stopping = True
        self.intake.stop()
        self.leases.release_waiting()

    def stop_claiming_soon(self) -> None:
        """Let the intake end and hand back what has not started; fits a signal handler, as it takes no lock."""
        self._is_stopping = True
        self.intake.ask_to_stop()

    def end_threads(self) -> None:
        """Let the worker's and the consumers' threads end now: they would notice up to a second later each."""
        for thread in (*self._worker.workers, *self._worker.consumers.values()):
            thread.stop()
        self._work_queue.close()
        self._end_waits()

    def leave(self) -> None:
        """Leave at once: hand back everything, then forget the worker's row. Dramatiq exits right after."""
        self.stop_claiming_soon()
        self.leases.release_waiting()
        self.leases.take_back()
        self.verdict_writer.flush(LEAVE_FLUSH_S)
        self.heartbeat.leave(self.leases.stuck())

    def stop(self) -> None:
        """Write what is owed and leave; what still runs is handed back with the worker's row."""
        self._is_stopping = True
        self.intake.stop()
        # Looked up first: one that ends meanwhile is written, or is lost, but was not released.
        stuck = self.leases.stuck()
        self.verdict_writer.close()
        self.heartbeat.stop(stuck)
        self.leases.is_closed = True
        self.shutdown.uninstall()

    def give_up(self, delivery: Delivery, note: str) -> bool:
        """Count a message that nothing stops as lost and let this process be replaced; False where it is not ours.

        Its neighbours get the grace of any other stop.
        """
        if not self.shutdown.is_own_process:
            return False
        delivery.stuck_note = note
        self.shutdown.begin_replacement()
        return True

    # Receiver of the intake

    def may_claim(self) -> bool:
        return (
            self.heartbeat.may_claim
            and self.verdict_writer.unwritten < UNWRITTEN_MAX
            and not any(thread.paused for thread in self._worker.workers)
        )

    def is_idle(self) -> bool:
        return self.leases.is_empty() and not self.verdict_writer.unwritten

    def free_slots(self) -> int:
        return self.leases.room()

    def lease_ids(self) -> list[int]:
        """Return the leases this process knows of: what it holds and what it owes a verdict."""
        return [delivery.lease_id for delivery in self.leases.held()] + self.verdict_writer.lease_ids()

    def claiming_ended(self) -> None:
        self.leases.release_waiting()
        self.shutdown.retire_when_idle()

    def release_overdue(self) -> bool:
        return self.leases.release_overdue()

    def receive(self, claims: Iterable[Claim]) -> None:
        self.leases.receive(claims)

    def note_buried(self, buried: Sequence[Verdict]) -> None:
        """Tell middleware of messages that became dead letters because they could not be claimed or ended."""
        if buried:
            self._written([(verdict, verdict.outcome) for verdict in buried])

    # What the threads report

    def _wake(self) -> None:
        self.intake.wake()

    def _written(self, written: Sequence[tuple[Verdict, Outcome]]) -> None:
        self._broker.emit_written(written)
        if any(outcome in (Outcome.RETRY, Outcome.POSTPONED) for _, outcome in written):
            # This process may be the only one: its own wait for the next due message must be made anew.
            self.intake.wake()

    def running(self) -> Counter[str]:
        """Return how many messages of each queue run now; queues where none does are there with 0."""
        return self.leases.running(self.queue_names)

    def failing(self) -> str | None:
        """Return what has failed for some seconds although this process lives, or None."""
        parts = (self.heartbeat, self.intake, self.verdict_writer)
        return next((reason for part in parts if (reason := part.failing.reason())), None)

    def stalled(self) -> str | None:
        """Return why this process should be replaced, or None. A database that is away is no reason."""
        # A process that retires works on without claiming.
        expected = [] if self._is_stopping else [("intake", self.intake.thread)]
        if not self._is_stopping or self.shutdown.is_retiring:
            expected += [("completions", self.verdict_writer.thread), ("liveness", self.heartbeat.thread)]
        for name, thread in expected:
            # One that has not been started has no number yet: the process is starting.
            if thread.ident is not None and not thread.is_alive():
                return f"the {name} thread has ended"
        silent_s = time.monotonic() - self.intake.cycle_clock
        allowed_s = self._poll_interval_s + STALL_TIMEOUT_S
        if silent_s > allowed_s and not self._is_stopping:
            return f"the intake has done nothing for {silent_s:.0f} s"
        return None


def _in_order(consumed: Sequence[str], order: Sequence[str]) -> list[str]:
    """Return the queues as an order names them, then the others by name."""
    return [name for name in order if name in consumed] + sorted(name for name in consumed if name not in order)
