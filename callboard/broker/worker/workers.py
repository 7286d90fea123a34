"""The Workers that run on one broker in this process, each with a runtime of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from callboard.broker.context import note_worker_end, note_worker_start
from callboard.broker.running.async_actors import check_event_loop
from callboard.broker.running.work_queue import WorkQueue
from callboard.broker.worker.shutdown import is_dramatiqs_process, refuse_start
from callboard.errors import CallboardError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dramatiq.worker import Worker

    from callboard.broker.hooks import HookedBroker
    from callboard.broker.options import BrokerOptions
    from callboard.broker.worker.runtime import WorkerRuntime


class Workers:
    """Starts and ends the database's part of each Worker, and nobody else's.

    Dramatiq's command runs one Worker a process. Tests and programs run several, one after the other or side by side.
    """

    def __init__(self, broker: HookedBroker, options: Callable[[], BrokerOptions]) -> None:
        self._broker = broker
        self._options = options
        self._runtimes: dict[Worker, WorkerRuntime] = {}
        #: What the consumers of all Workers wait for; set for a moment whenever one ends.
        self.closed = threading.Event()

    @property
    def all(self) -> tuple[WorkerRuntime, ...]:
        return tuple(self._runtimes.values())

    def of(self, worker: Worker) -> WorkerRuntime | None:
        return self._runtimes.get(worker)

    def prepare(self, worker: Worker) -> None:
        """Make a Worker ready to start, also one that ran before. Raises: CallboardError where it runs."""
        if worker in self._runtimes:
            raise CallboardError("This Worker runs already. Stop it before you start it again.")
        # Where it ran before, Dramatiq takes the threads of that time for running.
        worker.workers[:] = [thread for thread in worker.workers if thread.is_alive()]
        for name in [name for name, thread in worker.consumers.items() if not thread.is_alive()]:
            del worker.consumers[name]
        # Before its threads are made, which keep the one they are given.
        worker.work_queue = WorkQueue(self._options().queue_order)

    def check_event_loop(self) -> None:
        """Refuse to start a Worker whose actors have no event loop; its middleware has had its chance to make one."""
        try:
            check_event_loop(self._broker.actors.values())
        except ConfigurationError as error:
            refuse_start(error)

    def start(self, worker: Worker) -> None:
        # Late: a process that only sends, or asks, has no use for a fifth of what the broker is made of.
        from callboard.broker.worker.runtime import WorkerRuntime

        runtime = WorkerRuntime(self._broker, worker, self._options(), end_waits=self.wake_consumers)
        self._runtimes[worker] = runtime
        note_worker_start(runtime, is_dramatiqs=is_dramatiqs_process())
        runtime.start()

    def wake_consumers(self) -> None:
        """Let the consumers of all Workers look whether they are to end."""
        self.closed.set()
        self.closed.clear()

    def close(self, worker: Worker) -> None:
        """End the runtime of a Worker, if it has one still."""
        self.wake_consumers()
        if (runtime := self._runtimes.get(worker)) is None:
            return
        try:
            runtime.stop()
        finally:
            self._runtimes.pop(worker, None)
            note_worker_end(runtime)
            self._broker.remove_middleware_of(worker)

    def close_all(self) -> None:
        for worker in list(self._runtimes):
            self.close(worker)
