"""Claiming messages: one thread a worker process, with one budget of slots over all its queues.

The thread sleeps until the doorbell rings, a slot comes free, the next delayed message falls due, or the
safety poll is due. What it claims goes straight to the worker's threads, ordered by priority and age.
"""

from __future__ import annotations

import os
import random
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg2

from callboard.broker.claiming.claimer import FULL_LOOK_INTERVAL_S, SESSION_SETTINGS, Claimed, Claimer
from callboard.broker.claiming.listening import Listening
from callboard.broker.claiming.one_shot import LOOK_INTERVAL_S, OneShot
from callboard.broker.claiming.receiver import Receiver
from callboard.broker.context import set_current_delivery
from callboard.broker.options import OneShotKind
from callboard.broker.outages.failing import Failing
from callboard.broker.outages.outage import RECONNECT_WAIT_S, Outage
from callboard.db import CALL_TIMEOUT_S, CONNECTION_ERRORS, RECONNECT_ERRORS, connect, deadline
from callboard.db.rows.values import is_of_a_value, said
from callboard.log import get_logger

log = get_logger(__name__)

CHANNEL = "callboard"
#: How often a thread that may not claim looks whether it may, unless it is woken, s.
PERMISSION_LOOK_S = 0.1
FAULT_WAIT_S = 1.0
#: How often claims whose answer was lost are looked for: after a connection was lost, for a while, and else, s.
RECLAIM_INTERVAL_S = 10.0
RECLAIM_WATCH_S = 60.0
RECLAIM_IDLE_INTERVAL_S = 60.0
#: How often waiting messages are looked at, s.
OVERDUE_LOOK_S = 0.25
#: How long a process claims nothing else while it waits for its running messages to end, s.
ALONE_PATIENCE_S = 30.0
#: How often a process that may not run suspects now looks whether it may, s.
SUSPECT_LOOK_S = 1.0
#: Messages that one claim takes at the most.
CLAIM_MAX = 500
#: Shortest sleep when something is due that could not be claimed: another process has it locked, s.
CONTENTION_WAIT_S = 0.05
#: Verdicts the database may owe us before claiming stops: while it is slow, finished work must not pile up.
UNWRITTEN_MAX = 2_000


class Intake:
    """The claim loop of one worker process."""

    def __init__(
        self,
        url: Callable[[], str],
        worker_id: str,
        receiver: Receiver,
        *,
        queue_names: Sequence[str],
        poll_interval_s: float,
        claim_max: int | None,
        listens: bool,
        is_strict: bool = False,
        errand: OneShotKind | None = None,
    ) -> None:
        self._url = url
        self._receiver = receiver
        self._claimer = Claimer(
            worker_id, queue_names, is_prepared=listens, is_strict=is_strict, lease_ids=receiver.lease_ids
        )
        self._poll_interval_s = poll_interval_s
        self._claim_max = claim_max
        self._listens = listens
        self.listening = Listening(worker_id, self.wake)
        self.one_shot = OneShot(errand)
        self.failing = Failing("claims")
        #: Queues declared after the start, until the thread takes them up.
        self._new_queue_names: deque[str] = deque()
        #: A message waits that must run alone; this process has the turn to run such.
        self._sees_suspects = False
        self._is_alone = False
        self._owes_turn = False
        self._runs_suspect = False
        self._reclaim_clock = 0.0
        self._connected_clock = 0.0
        #: A claimed message may wait for a thread; when that was looked at last.
        self._may_wait = False
        self._overdue_clock = 0.0
        self._alone_since_clock = 0.0
        self._alone_again_clock = 0.0
        self._connection: Any = None
        self._outage = Outage(
            lost="intake connection was lost; claiming pauses",
            denied="claims are refused by the database",
            back="intake connection is back",
        )
        self._stopping = False
        #: A wake is on its way that the thread has not seen yet.
        self._is_woken = False
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self.thread = threading.Thread(target=self._run, name="callboard-intake", daemon=True)
        self.cycle_clock = time.monotonic()

    def start(self) -> None:
        self.thread.start()

    def add_queue(self, queue_name: str) -> None:
        """Claim from one more queue from now on; safe from any thread."""
        self._new_queue_names.append(queue_name)
        self.wake()

    def wake(self) -> None:
        """Look for messages now; safe from any thread."""
        if self._is_woken:
            return
        # Two threads that pass here at once write twice, which wakes no more than once does.
        self._is_woken = True
        try:
            os.write(self._wake_in, b"!")
        except BlockingIOError:
            return  # The pipe is full of wakes that are not read yet: one more changes nothing.

    def stop(self) -> None:
        """Claim nothing from now on."""
        self.ask_to_stop()
        self.thread.join(CALL_TIMEOUT_S + 1)

    def ask_to_stop(self) -> None:
        """Let the thread end after its present claim; safe in a signal handler."""
        self._stopping = True
        self.wake()

    def _run(self) -> None:
        set_current_delivery(None)  # For hooks that ask: it is none of an actor's threads.
        while not self._stopping:
            try:
                pause_s = self._look_for_overdue(self._cycle())
                if self._connection is not None:
                    self._outage.note_work()
                    self.failing.end()
            except (*RECONNECT_ERRORS, psycopg2.Error) as error:
                is_first = self.failing.begin(error)
                if is_of_a_value(error):
                    if is_first:
                        log.warning("claims fail", error=said(error))
                    pause_s = RECONNECT_WAIT_S
                else:
                    pause_s = self._outage.note_loss(error)
                self._disconnect()
            except Exception as error:
                # A fault of ours must not end the claiming of this process in silence.
                if self.failing.begin(error):
                    log.exception("intake failed and starts anew")
                self._disconnect()
                pause_s = FAULT_WAIT_S
            self._sleep(pause_s)
        self._disconnect()
        # Here, too, and not only when Dramatiq gets to it: up to a second passes between the signal and that.
        self._receiver.claiming_ended()

    def _cycle(self) -> float:
        """Claim what there is room for and return how long to sleep, s."""
        self.cycle_clock = time.monotonic()
        if not self._receiver.may_claim():
            self.one_shot.note_obstacle()
            return PERMISSION_LOOK_S
        self._hear()
        self._ensure_connection()
        self._take_up_new_queues()
        # A ring that came before the claim below is answered by it; one that comes later stays to be read.
        self._claimer.hear(self._connection.notifies)
        if self._sees_suspects and not self._is_alone and time.monotonic() > self._alone_again_clock:
            self._is_alone = self._claimer.take_turn_alone(self._connection)
            self._alone_since_clock = time.monotonic()
        self._sees_suspects = False
        if self._is_alone:
            return self._run_suspects()
        is_watched = time.monotonic() - self._connected_clock < RECLAIM_WATCH_S
        interval_s = RECLAIM_INTERVAL_S if is_watched else RECLAIM_IDLE_INTERVAL_S
        if time.monotonic() - self._reclaim_clock > interval_s:
            self._receiver.note_buried(self._claimer.reclaim(self._connection))
            self._reclaim_clock = time.monotonic()
        free = self._receiver.free_slots()
        if free <= 0:
            self.one_shot.note_obstacle()
            return self._poll_interval_s
        if self.one_shot.is_used_up:
            return self._look_for_the_end()
        was_idle, began_clock = self._receiver.is_idle(), time.monotonic()
        found = self._claimer.claim(self._connection, self.one_shot.room(min(free, self._claim_max or CLAIM_MAX)))
        self._receiver.note_buried(found.buried)
        self._receiver.receive(found.claims)
        self._may_wait = self._may_wait or bool(found.claims)
        self._sees_suspects = found.has_suspects
        self.one_shot.note_look(
            began_clock,
            claimed=len(found.claims),
            was_idle=was_idle and not found.has_suspects,
            found_nothing=found.was_full_look and not found.may_be_more,
        )
        return self._pause_after(found)

    def _look_for_the_end(self) -> float:
        """Wait for the end of what runs, as nothing more may be claimed."""
        is_idle = self._receiver.is_idle()
        self.one_shot.note_look(time.monotonic(), claimed=0, was_idle=is_idle, found_nothing=True)
        return LOOK_INTERVAL_S

    def _pause_after(self, found: Claimed) -> float:
        if found.may_be_more and not self.one_shot.is_used_up:
            return 0.0
        poll_s = self._poll_interval_s * random.uniform(0.8, 1.0)  # noqa: S311 - jitter, not cryptography
        if found.has_suspects:
            poll_s = min(poll_s, SUSPECT_LOOK_S)
        if not found.was_full_look:
            # Before a long sleep the look must have been a full one.
            poll_s = min(poll_s, FULL_LOOK_INTERVAL_S)
        if self.one_shot.is_set:
            poll_s = min(poll_s, LOOK_INTERVAL_S)
        return poll_s if found.due_in_s is None else min(max(found.due_in_s, CONTENTION_WAIT_S), poll_s)

    def _hear(self) -> None:
        """Note what the connection heard, and give it up if it has not heard our own ring."""
        if self._connection is None or not self._listens:
            return
        self._connection.poll()
        if self._connection.notifies:
            self.listening.note_ring()
        elif self.listening.is_deaf():
            self._disconnect()

    def _look_for_overdue(self, pause_s: float) -> float:
        """Hand back what has waited too long, looking seldom: it goes through all that is held."""
        if self._may_wait and time.monotonic() - self._overdue_clock >= OVERDUE_LOOK_S:
            self._may_wait = self._receiver.release_overdue()
            self._overdue_clock = time.monotonic()
        return min(pause_s, OVERDUE_LOOK_S) if self._may_wait else pause_s

    def _take_up_new_queues(self) -> None:
        while self._new_queue_names:
            self._claimer.queue_names.append(self._new_queue_names.popleft())
            self._listen([self._claimer.queue_names[-1]])

    def _run_suspects(self) -> float:
        """Run the messages that lost two workers, one at a time with the process to itself.

        One process of all does this, so that the others go on; whatever such a message does to its process, it takes
        no neighbour along.
        """
        if self._receiver.is_idle():
            found = None if self.one_shot.is_used_up else self._claimer.claim_alone(self._connection)
            self._runs_suspect = found is not None and bool(found.claims)
            if found is not None:
                self._receiver.note_buried(found.buried)
            if found is not None and found.claims:
                self._receiver.receive(found.claims)
                self.one_shot.note_look(time.monotonic(), claimed=1, was_idle=True, found_nothing=False)
                self._may_wait = True
                return CONTENTION_WAIT_S
        elif self._runs_suspect or time.monotonic() - self._alone_since_clock < ALONE_PATIENCE_S:
            return CONTENTION_WAIT_S
        else:
            # A long job still runs here; the other threads are not kept from their work for it any longer.
            self._alone_again_clock = time.monotonic() + ALONE_PATIENCE_S
        self._claimer.end_turn_alone(self._connection)
        self._is_alone = False
        return 0.0

    def _ensure_connection(self) -> None:
        if self._connection is not None:
            return
        self._connection = connect(
            self._url(),
            application_name="callboard intake",
            autocommit=True,
            settings=SESSION_SETTINGS,
        )
        self._connected_clock = time.monotonic()
        # What rang meanwhile was not heard.
        self._claimer.look_at_everything()
        self._listen(self._claimer.queue_names)
        if self._owes_turn:
            self._claimer.end_turn_alone(self._connection)
            self._owes_turn = False

    def _listen(self, queue_names: Iterable[str]) -> None:
        if not self._listens:
            return
        # Stock producers of dramatiq-pg ring on channels of their own, once for delayed messages under ".DQ".
        stock = [f"dramatiq.{name}.{part}" for name in queue_names for part in ("enqueue", "DQ.enqueue")]
        with deadline(self._connection, CALL_TIMEOUT_S), self._connection.cursor() as cursor:
            for channel in (CHANNEL, self.listening.channel, *stock):
                cursor.execute(f"LISTEN {psycopg2.extensions.quote_ident(channel, cursor)}")
        self.listening.begin()

    def _sleep(self, pause_s: float) -> None:
        if pause_s <= 0 or self._stopping:
            return
        # Not select(): it refuses file descriptors from 1024 on.
        poller = select.poll()
        poller.register(self._wake_out, select.POLLIN)
        if self._connection is not None:
            if self._connection.notifies:
                return
            poller.register(self._connection, select.POLLIN)
        try:
            ready = {descriptor for descriptor, _ in poller.poll(pause_s * 1000)}
            if self._wake_out in ready:
                os.read(self._wake_out, 4096)
                # Cleared before the next claim looks, so that a wake from now on is heard.
                self._is_woken = False
            if self._connection is not None and self._connection.fileno() in ready:
                self._connection.poll()
        except CONNECTION_ERRORS as error:
            self._outage.note_loss(error)
            self._disconnect()

    def _disconnect(self) -> None:
        # The turn outlives the connection, and others would wait for it as long as this process lives.
        self._owes_turn = self._owes_turn or self._is_alone
        self._is_alone = False
        self.listening.end()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
