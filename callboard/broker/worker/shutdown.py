"""How a worker process ends: it hears the signal at once, drains for its full grace, and hands back the rest.

Dramatiq's own way falls short in three places. Its main loop looks at the signal once a second, and a worker claims
on meanwhile. Its join_all() takes the time that all threads took off the time of each, so that the grace ends early
(threads that end after .5, .9 and .95 of it: it returns at .9). And at a second signal it exits without its hooks, so
that what ran would count as lost with its worker.

Retiring is a third way, for a process that is to be replaced: at SIGUSR1 (or SIGUSR2 where other code listens to that)
it claims nothing more, hands back what has not started, and ends when what runs has ended, however long that takes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from callboard.errors import ConfigurationError
from callboard.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dramatiq.worker import Worker

log = get_logger(__name__)

#: Ask a worker process, not Dramatiq's master, to retire: the first that nobody else listens to.
RETIRE_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
#: A signal that follows the first one this closely is the same one, heard twice: a service manager that signals the
#: whole process group reaches us directly, and again through Dramatiq's master, s.
SAME_SIGNAL_S = 0.3
#: Longest time that leaving at the second signal takes, s.
LEAVE_TIMEOUT_S = 3.0
#: Time that Dramatiq gets to end threads which have nothing to run any more: they look once a second, ms.
THREADS_END_MS = 2_000
DRAIN_LOOK_S = 0.02
#: Exit code of a process that left because of a message that nothing else could stop.
EXIT_STUCK = 70
#: Dramatiq's exit code for what another start will not cure.
EXIT_CONFIGURATION = 2


def is_dramatiqs_process() -> bool:
    """Tell whether this is a worker process of Dramatiq's command, and not somebody's program that runs a Worker."""
    handlers = (signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP))
    return any(getattr(handler, "__module__", None) == "dramatiq.cli" for handler in handlers)


def refuse_start(error: ConfigurationError) -> NoReturn:
    """Refuse to start a Worker: by the exit code in a process of Dramatiq's command, else by raising the error."""
    if is_dramatiqs_process():
        print(f"Callboard cannot start:\n{error}", file=sys.stderr, flush=True)  # noqa: T201 - logs may not be set up
        raise SystemExit(EXIT_CONFIGURATION)
    raise error


class Stoppable(Protocol):
    """What is stopped: the runtime of a worker."""

    @property
    def leases(self) -> HeldLeases: ...

    def is_idle(self) -> bool:
        """Return whether nothing runs here and no verdict is unwritten."""

    def stop_claiming_soon(self) -> None:
        """Let the claiming end; takes no lock."""

    def end_threads(self) -> None:
        """Let the threads end now."""

    def leave(self) -> None:
        """Leave at once."""


class HeldLeases(Protocol):
    """What is still held at a stop."""

    def stuck(self) -> list[tuple[int, str]]:
        """Return lease and note of each message that is given up."""

    def held(self) -> Iterable[Any]:
        """Return the messages this process holds."""

    def take_back(self) -> int:
        """Take back from the threads what they still run."""


class Shutdown:
    """The end of one worker process, tied to Dramatiq's Worker and its signal handlers."""

    def __init__(self, runtime: Stoppable, worker: Worker) -> None:
        self._runtime = runtime
        self._worker = worker
        self._own_stop: Callable[..., None] | None = None
        self._grace_s = 0.0
        #: When the stop began, and when somebody outside of this process asked for it.
        self._began_clock: float | None = None
        self._heard_clock: float | None = None
        #: The process is Dramatiq's worker process, and not somebody's program that runs a Worker.
        self.is_own_process = False
        #: A message that nothing can stop is why this process ends.
        self.is_stuck = False
        self._awaits_own_signal = False
        #: Plain flags: a handler may interrupt whoever holds a lock.
        self.is_retiring = False
        self._is_ending = False
        #: The signal that asks this process to retire, once it would be heard.
        self.retire_signal: int | None = None

    def install(self) -> None:
        """Put ourselves in front of Worker.stop() and, in a process of Dramatiq's command, of its signal handlers."""
        stock_stop = self._worker.stop

        def stop(timeout: int = 600_000) -> None:
            # Dramatiq's own waits come after ours, for threads that idle by then or are given up.
            self._grace_s = timeout / 1000
            self._is_ending = True
            stock_stop(timeout=min(timeout, THREADS_END_MS))
            if self.is_stuck:
                self._worker.broker.close()
                raise SystemExit(EXIT_STUCK)

        self._worker.stop = self._own_stop = stop  # type: ignore[method-assign]
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGHUP):
            theirs = signal.getsignal(number)
            # Whoever runs a Worker inside a program of his own decides himself what signals do.
            if callable(theirs) and getattr(theirs, "__module__", None) == "dramatiq.cli":
                signal.signal(number, self._heard_by(theirs))
                self.is_own_process = True
                self._listen_for_retirement()

    def uninstall(self) -> None:
        """Give the Worker its own stop() back: one that is started again gets another of ours."""
        if self._worker.__dict__.get("stop") is self._own_stop:
            del self._worker.stop

    def begin_replacement(self) -> None:
        """Let this process end as if it was told to, but with a code that says why; safe from any thread."""
        self.is_stuck = True
        if self._began_clock is None and not self._awaits_own_signal:
            self._awaits_own_signal = True
            os.kill(os.getpid(), signal.SIGTERM)

    def drain(self) -> None:
        """Wait for running messages until the grace is over, then hand back what still runs.

        What is stuck is not waited for and not handed back: it would do the same to the next process, uncounted.
        """
        # From the signal on, not from when Dramatiq's main loop saw it: whoever sent it counts so too.
        began_clock = time.monotonic() if self._began_clock is None else self._began_clock
        until = began_clock + self._grace_s
        while any(d.stuck_note is None for d in self._runtime.leases.held()) and time.monotonic() < until:
            if not any(thread.is_alive() for thread in self._worker.workers):
                break
            time.sleep(DRAIN_LOOK_S)
        if count := self._runtime.leases.take_back():
            log.warning("messages were still running at the end of the grace and are handed back", count=count)
        self._runtime.end_threads()

    def retire_when_idle(self) -> None:
        """Where this process retires, wait until nothing runs here, and end it; called when claiming has ended.

        A request to stop that comes meanwhile takes over, with its grace.
        """
        while self.is_retiring and not self._is_ending and self._heard_clock is None:
            if self._runtime.is_idle():
                _ask_master_to_end()
                return
            time.sleep(DRAIN_LOOK_S)

    def _listen_for_retirement(self) -> None:
        free = [number for number in RETIRE_SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
        if free and self.retire_signal is None:
            signal.signal(free[0], self._hear_retirement)
            self.retire_signal = free[0]
        elif self.retire_signal is None:
            log.warning("SIGUSR1 and SIGUSR2 are taken by other code; this process cannot retire")

    def _hear_retirement(self, number: int, frame: FrameType | None) -> None:
        self.is_retiring = True
        self._runtime.stop_claiming_soon()

    def _heard_by(self, theirs: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        # A handler runs between two instructions of the main thread, which may hold any lock. So it takes none itself.
        def hear(number: int, frame: FrameType | None) -> None:
            if self._is_told_twice():
                leaving = threading.Thread(target=self._runtime.leave, name="callboard-leaving", daemon=True)
                leaving.start()
                leaving.join(LEAVE_TIMEOUT_S)
            elif self._began_clock is None:
                self._began_clock = time.monotonic()
                self._runtime.stop_claiming_soon()
            else:
                return
            theirs(number, frame)

        return hear

    def _is_told_twice(self) -> bool:
        """Note a signal, and tell whether somebody outside of this process had asked for its end before."""
        now = time.monotonic()
        if self._awaits_own_signal:
            self._awaits_own_signal = False
        elif self._heard_clock is None:
            self._heard_clock = now
        else:
            return now - self._heard_clock >= SAME_SIGNAL_S
        return False


def _ask_master_to_end() -> None:
    """Let Dramatiq's master end this process: one that ends by itself is reported by it as a fault."""
    master = multiprocessing.parent_process()
    # Asked of its pipe, not of its number, which may be a stranger's once it has died.
    is_there = master is not None and master.pid is not None and master.is_alive()
    os.kill(master.pid if is_there else os.getpid(), signal.SIGTERM)  # type: ignore[union-attr, arg-type]
