"""Being alive, and noticing who is not: registration, lock, heartbeat, and the leader's rescue of lost messages.

A worker process holds an advisory lock on a connection of its own and beats a row. When it dies, Postgres
frees the lock at once; the leader looks every second and takes its messages back after two looks 2 s apart.
A worker that is frozen or cut off keeps its lock, and is found by its overdue heartbeat. So is any worker whose lock
proves nothing, as behind a pooler that lends sessions: its row says so (holds_lock).
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import psycopg2

from callboard.broker.claiming.listening import Listening
from callboard.broker.context import set_current_delivery
from callboard.broker.ending.burial import SINGLY_MAX, take_back_singly
from callboard.broker.ending.verdict import Verdict
from callboard.broker.liveness.expiry import Expiry
from callboard.broker.outages.failing import Failing
from callboard.broker.outages.outage import RECONNECT_WAIT_S, Outage
from callboard.broker.schedules.declaration import Schedule
from callboard.broker.schedules.scheduler import TICK_MIN_S, Scheduler, SendListener
from callboard.db import CALL_TIMEOUT_S, RECONNECT_ERRORS, connect, deadline, schema, sql
from callboard.db.rows.values import is_of_a_value, said
from callboard.errors import DatabaseUnavailable, SchemaOutdated
from callboard.log import get_logger
from callboard.memory import resident_bytes
from callboard.terms import BEAT_OVERDUE_S, DUTY_OVERDUE_S
from callboard.version import VERSION

log = get_logger(__name__)

#: Pause between two beats: the leader also looks for the dead each time, the others try to lead, s.
LEADER_TICK_S = 1.0
FOLLOWER_TICK_S = 1.5
#: How often the leader looks for messages of workers whose row is gone, while it suspects nobody, s.
RESCUE_INTERVAL_S = 3.0
#: While somebody is suspected, the second look comes as soon as it may, s.
SUSPICION_TICK_S = 0.25
#: A new leader looks only after its own connection is this old, so that workers that lost their lock with a
#: restart of the database had time to take it back, s.
LEADER_PATIENCE_S = 2.0
#: Workers a message may lose; the last loss makes it a dead letter.
MAX_LOST_WORKERS = 3
#: Keys that are drawn for a worker's lock until one is free; a sequence that began anew meets those that live.
LOCK_DRAWS = 100
#: Sent with the rescue, which looks rows up by their ids, whatever the planner knows of the table: of one that was
#: drained when autovacuum looked, it thinks that reading all of it is cheaper.
RESCUE_SETTINGS = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;"

#: A role's own limit would end rescues of many messages again and again; the deadline of a call ends what hangs.
SESSION_SETTINGS = {"statement_timeout": "0"}

RescueListener = Callable[[str, str, str, str], None]


class Heartbeat:
    """One worker process's life as the database sees it.

    has_lock: whether a lock may be relied on; not with QUEUE_LISTEN=off, which says that sessions are shared.
    on_registered() is called when new messages may start, also after a pause of that.
    on_rescue(queue_name, actor_name, outcome, cause) is called on the leader for each message taken back;
    on_forgotten() when this process finds that it was taken for dead; on_cancelled(message_ids) at each beat while an
    operator asks messages of this process to stop; on_buried(verdicts) for messages that cannot be taken back, which
    the leader made dead letters. schedules are what this process declares; on_send tells of each
    message that the leader sends for one (scheduling.py).
    """

    def __init__(
        self,
        url: Callable[[], str],
        worker_id: str,
        *,
        queues: Sequence[str],
        actors: Sequence[tuple[str, str, int]],
        threads: int,
        on_rescue: RescueListener,
        on_forgotten: Callable[[], None],
        has_lock: bool = True,
        on_registered: Callable[[], None] = lambda: None,
        on_cancelled: Callable[[Sequence[str]], None] = lambda _message_ids: None,
        on_buried: Callable[[Sequence[Verdict]], None] = lambda _buried: None,
        hearing: Listening | None = None,
        schedules: Sequence[Schedule] = (),
        on_send: SendListener = lambda _moment, _message: None,
    ) -> None:
        self._url = url
        self._worker_id = worker_id
        self._queues = list(queues)
        self._actors = list(actors)
        self.threads = threads
        self._on_rescue = on_rescue
        self._on_forgotten = on_forgotten
        self._may_rely_on_lock = self._relies_on_lock = has_lock
        self._session_pid = 0
        self._on_registered = on_registered
        self._on_cancelled = on_cancelled
        self._on_buried = on_buried
        self._hearing = hearing
        self.failing = Failing("heartbeats")
        self._expiry = Expiry(self._execute)
        self._clock = Scheduler(self._execute, schedules, on_send)
        self._connection: Any = None
        self._connected_at = 0.0
        self._leads = False
        self._rescue_clock = 0.0
        self._outage = Outage(
            lost="liveness connection was lost; nothing new starts until it is back",
            refused="database refuses the worker; nothing new starts until that is corrected",
            denied="liveness was refused by the database",
            back="liveness connection is back",
        )
        #: A plain flag: the main thread may hold an Event's lock when the signal that sets it arrives.
        self._is_leaving = False
        self._has_lock = threading.Event()
        self._stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name="callboard-liveness", daemon=True)

    @property
    def may_claim(self) -> bool:
        """Whether this process is registered, with its lock where that counts: without it, nothing new may start."""
        return self._has_lock.is_set()

    @property
    def leads(self) -> bool:
        return self._leads

    def start(self) -> None:
        self.thread.start()

    def stop(self, stuck: Sequence[tuple[int, str]] = ()) -> None:
        """Leave: hand back what still runs, forget the row, free the lock.

        stuck: lease and note of each message that is given up instead. With one of them the row stays, without its
        lock: the leader finds the worker dead and counts it as lost.
        """
        self._stopping.set()
        self.thread.join(CALL_TIMEOUT_S)
        try:
            if self._connection is not None:
                self._execute("liveness/unregister", unregister_parameters(self._worker_id, stuck))
        except (*RECONNECT_ERRORS, psycopg2.Error):
            # The session may have been ended a moment ago; a new one tells whether the database is away.
            self.leave(stuck)
        finally:
            self._disconnect()

    def leave(self, stuck: Sequence[tuple[int, str]] = ()) -> None:
        """Leave at once, on a connection of its own: the thread may be in the middle of a call, or hang in one."""
        self._is_leaving = True
        try:
            opened = connect(self._url(), application_name="callboard leaving", autocommit=True)
            with closing(opened), deadline(opened, CALL_TIMEOUT_S), opened.cursor() as cursor:
                cursor.execute(sql("liveness/unregister"), unregister_parameters(self._worker_id, stuck))
        except (*RECONNECT_ERRORS, psycopg2.Error) as error:
            log.warning("worker could not say goodbye; its messages run again in a few seconds", error=str(error))

    def _run(self) -> None:
        set_current_delivery(None)  # For hooks that ask: it is none of an actor's threads.
        while not (self._stopping.is_set() or self._is_leaving):
            try:
                if self._connection is None:
                    self._connect()
                pause_s = self._tick()
                self._outage.note_work()
                self.failing.end()
            except SchemaOutdated as error:
                log.warning("worker waits for the schema", error=str(error))
                self._disconnect()
                pause_s = CALL_TIMEOUT_S
            except Exception as error:
                if is_of_a_value(error) or not isinstance(error, (*RECONNECT_ERRORS, psycopg2.Error)):
                    # A fault of ours, or a row that no look at it gets around: not the end of this thread.
                    if self.failing.begin(error):
                        log.exception("liveness failed and starts anew")
                    pause_s = RECONNECT_WAIT_S
                else:
                    pause_s = self._outage.note_loss(error)
                self._disconnect()
            self._stopping.wait(pause_s)

    def _connect(self) -> None:
        self._connection = connect(
            self._url(),
            application_name="callboard liveness",
            autocommit=True,
            settings=SESSION_SETTINGS,
            reads_all=True,
        )
        self._connected_at = time.monotonic()
        # Where the session is a pooler's, anybody may end it, and the lock with it, while this process lives.
        self._relies_on_lock = self._may_rely_on_lock and self._connection.keeps_session
        self._session_pid = self._connection.info.backend_pid
        schema.check_revision(self._connection)
        self._register()
        moved = self._execute(
            "liveness/register_actors",
            {
                "actor_names": [name for name, _, _ in self._actors],
                "queue_names": [queue for _, queue, _ in self._actors],
                "priorities": [priority for _, _, priority in self._actors],
            },
        )
        for actor_name, queue_name, served_queue in moved:
            log.warning(
                "actor is known on another queue that workers serve; senders from SQL now reach this one",
                actor=actor_name,
                queue=queue_name,
                other_queue=served_queue,
            )
        self._clock.register(self._worker_id)

    def _register(self) -> None:
        parameters = {
            "worker_id": self._worker_id,
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "queues": self._queues,
            "threads": self.threads,
            "version": VERSION,
            "holds_lock": self._relies_on_lock,
        }
        for _ in range(LOCK_DRAWS):
            rows = self._execute("liveness/register", parameters)
            if rows and rows[0][0]:
                break
        else:
            raise DatabaseUnavailable(
                f"The liveness lock was taken {LOCK_DRAWS} times. Compare the sequence callboard.workers_lock_key_seq "
                "with the keys in callboard.workers."
            )
        self._has_lock.set()
        self._on_registered()

    def _tick(self) -> float:
        """Beat, lead if it falls to us, and return the pause until the next tick, s."""
        is_known, self._leads = self._beat()
        if not is_known:
            if self._is_leaving:
                return FOLLOWER_TICK_S
            log.warning("worker was taken for dead; its messages run elsewhere")
            self._on_forgotten()
            # The new row will have a lock key of its own, so the connection, which holds the old one, is made anew.
            self._disconnect()
            self._connect()
            return FOLLOWER_TICK_S
        if not self._leads:
            return FOLLOWER_TICK_S
        if time.monotonic() - self._connected_at < LEADER_PATIENCE_S:
            return LEADER_TICK_S
        suspects = self._execute("liveness/suspect", {"beat_overdue_s": BEAT_OVERDUE_S})[0][0]
        # A message may also run for a worker whose row is gone; that is rare, and looked for less often.
        if suspects or time.monotonic() - self._rescue_clock > RESCUE_INTERVAL_S:
            self._rescue_clock = time.monotonic()
            self._rescue()
        self._clock.send_when_due()
        self._expiry.purge_when_due()
        tick_s = SUSPICION_TICK_S if suspects else LEADER_TICK_S
        return min(tick_s, max(self._clock.pause_s, TICK_MIN_S))

    def _beat(self) -> tuple[bool, bool]:
        channel = self._hearing.channel_to_ring() if self._hearing is not None else None
        parameters = {
            "worker_id": self._worker_id,
            "rss_bytes": resident_bytes(),
            "leads": self._leads,
            "channel": channel,
            "holds_lock": self._relies_on_lock,
            "session_pid": self._session_pid,
            "duty_overdue_s": DUTY_OVERDUE_S,
        }
        is_known, leads, cancelled, holds_lock, *_ = self._execute("liveness/beat", parameters)[0]
        if is_known and self._relies_on_lock and not holds_lock:
            # For good: a session that was lent to others once may be ours again at the next look, and prove nothing.
            self._may_rely_on_lock = self._relies_on_lock = False
            log.info("sessions are lent by a pooler; this worker's death shows by its heartbeat only")
        if self._hearing is not None and channel is not None:
            self._hearing.rung()
        if cancelled:
            self._on_cancelled(cancelled)
        return is_known, leads

    def _rescue(self) -> None:
        parameters = {"beat_overdue_s": BEAT_OVERDUE_S, "max_lost_workers": MAX_LOST_WORKERS}
        try:
            rows = self._execute("liveness/rescue", parameters, RESCUE_SETTINGS)
        except Exception as error:
            if not is_of_a_value(error):
                raise
            log.warning("messages are rescued one by one, as one of them makes the rescue fail", error=said(error))
            found = self._execute("liveness/find_lost", {"limit": SINGLY_MAX})
            self._on_buried(take_back_singly(self._connection, found, is_attempt=True))
            return
        for queue_name, actor_name, outcome, cause, _ in rows:
            log.warning("message rescued", queue=queue_name, actor=actor_name, outcome=outcome, cause=cause)
            self._on_rescue(queue_name, actor_name or "unknown", outcome, cause)

    def _execute(self, name: str, parameters: dict[str, Any], before: str = "") -> list[Any]:
        connection = self._connection
        if connection is None:
            raise DatabaseUnavailable("The liveness connection was closed, as the worker is ending.")
        with deadline(connection, CALL_TIMEOUT_S), connection.cursor() as cursor:
            cursor.execute(before + sql(name), parameters)
            return [] if cursor.description is None else list(cursor.fetchall())

    def _disconnect(self) -> None:
        self._has_lock.clear()
        self._leads = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def unregister_parameters(worker_id: str, stuck: Sequence[tuple[int, str]] = ()) -> dict[str, Any]:
    """Return the parameters of sql/liveness/unregister.sql."""
    return {
        "worker_id": worker_id,
        "stuck_lease_ids": [lease_id for lease_id, _ in stuck],
        "stuck_notes": [note for _, note in stuck],
    }
