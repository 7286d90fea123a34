"""Time limits that hold: first an exception in the actor, and in the end its process.

1. A message that runs past its time_limit gets TimeLimitExceeded where its actor is, as in Dramatiq.
2. Python raises that only between two of its own instructions. A socket that blocks and a library's C code never come
   to one. So what runs on for another time_limit_margin is reported, and its process is replaced: it claims nothing
   more, its neighbours get the grace of any other stop, and it ends with a code of its own.
3. The message itself is not handed back: it counts as one that lost its worker, so that the third time ends it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from dramatiq.broker import Broker
from dramatiq.middleware import TimeLimit, TimeLimitExceeded

from callboard.broker import Delivery, for_other_brokers
from callboard.broker.options import is_span, wrong_span
from callboard.errors import ConfigurationError
from callboard.log import get_logger

from .boot_hooks import ends_process

if TYPE_CHECKING:
    from callboard.broker.worker.runtime import WorkerRuntime

log = get_logger(__name__)

#: How long after its time limit a message that goes on costs its process, ms.
MARGIN_MS = 30_000
#: How long a message that was interrupted has in any case, s: on a busy machine its thread must first have its turn.
INTERRUPTION_TAKES_S = 1.0


class TimeLimits(TimeLimit):
    """Dramatiq's TimeLimit with a last resort.

    Options of actors and messages, ms: time_limit as there, and time_limit_margin. On a broker of another kind, such
    as StubBroker, it is Dramatiq's own.
    """

    def __init__(self, *, margin: float = MARGIN_MS, **options: Any) -> None:
        super().__init__(**options)
        if wrong := wrong_span({"time_limit_margin": margin}):
            raise ConfigurationError(f"TimeLimits {wrong}")
        self._margin = margin
        self._interval_s = options.get("interval", 1_000) / 1000
        #: What ends the watch over each worker of this process.
        self._stopped: dict[Any, threading.Event] = {}
        #: Leases over their limit, with the moment when that was seen; those that were interrupted; given up.
        self._late: dict[int, float] = {}
        self._interrupted: set[int] = set()
        self._given_up: set[int] = set()

    @property
    def actor_options(self) -> set[str]:
        return {*super().actor_options, "time_limit_margin"}

    # A hook costs each message its time: ours are looked at from outside.

    @for_other_brokers
    def before_process_message(self, broker: Broker, message: Any) -> None:
        super().before_process_message(broker, message)

    @for_other_brokers
    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        super().after_process_message(broker, message, result=result, exception=exception)

    after_skip_message = after_process_message

    @ends_process
    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        if hasattr(broker, "worker_of"):
            stopped = self._stopped[worker] = threading.Event()
            watch = (broker, worker, stopped)
            threading.Thread(target=self._watch, args=watch, name="callboard-time-limits", daemon=True).start()

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        if stopped := self._stopped.pop(worker, None):
            stopped.set()

    def _watch(self, broker: Any, worker: Any, stopped: threading.Event) -> None:
        while not stopped.wait(self._interval_s):
            runtime = broker.worker_of(worker)
            if runtime is None:
                continue
            try:
                self._look(broker, runtime)
            except Exception:
                # Without this thread no limit would hold, and nobody would know.
                log.exception("time limits were not looked at; tried again")

    def _look(self, broker: Any, runtime: WorkerRuntime) -> None:
        """Interrupt what is over its time limit, and give up what is far over it."""
        now = time.monotonic()
        for delivery in runtime.leases.held():
            run_s = delivery.run_s
            if run_s is None or delivery.lease_id in self._given_up:
                continue
            limit_s, margin_s = self._limits_of(broker, delivery)
            if run_s < limit_s:
                continue
            if delivery.lease_id not in self._interrupted:
                self._interrupt(delivery, limit_s)
            # However short the margin is: the interruption may be all it takes, once its thread has its turn.
            is_ending = now - self._late.setdefault(delivery.lease_id, now) < INTERRUPTION_TAKES_S
            if run_s >= limit_s + margin_s and not is_ending:
                self._give_up(runtime, delivery, run_s, limit_s)
        # Another worker's leases too: its watch notes them in the same sets.
        leases = {delivery.lease_id for other in broker.workers for delivery in other.leases.held()}
        self._late = {lease: since for lease, since in self._late.items() if lease in leases}
        self._interrupted &= leases
        self._given_up &= leases

    def _interrupt(self, delivery: Delivery, limit_s: float) -> None:
        if delivery.interruption.interrupt(TimeLimitExceeded):
            self._interrupted.add(delivery.lease_id)
            log.warning("time limit exceeded", **_names(delivery), time_limit_s=limit_s)

    def _give_up(self, runtime: WorkerRuntime, delivery: Delivery, run_s: float, limit_s: float) -> None:
        self._given_up.add(delivery.lease_id)
        note = (
            f"It ran for {run_s:.0f} s, its time limit is {limit_s:g} s, and nothing could interrupt it; its process "
            "was replaced. Give sockets and other blocking calls timeouts of their own."
        )
        is_replaced = runtime.give_up(delivery, note)
        log.error(
            "message runs far beyond its time limit",
            **_names(delivery),
            run_s=round(run_s, 1),
            time_limit_s=limit_s,
            # A program that runs a Worker of its own decides itself when it ends.
            consequence="the process is replaced" if is_replaced else "none",
        )

    def _limits_of(self, broker: Any, delivery: Delivery) -> tuple[float, float]:
        """Return time limit and margin of a message, s."""
        actor = broker.actors.get(delivery.actor_name)
        options = {**(actor.options if actor else {}), **delivery.options}
        limit, margin = options.get("time_limit"), options.get("time_limit_margin")
        limit_ms = limit if is_span(limit) and limit > 0 else self.time_limit
        return limit_ms / 1000, (margin if is_span(margin) else self._margin) / 1000


def _names(delivery: Delivery) -> dict[str, Any]:
    return {"message_id": delivery.message_id, "actor": delivery.actor_name, "queue": delivery.queue_name}
