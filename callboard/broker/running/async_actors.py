"""Async actors: their coroutines on the process's one event loop, and what a thread does that waits for one.

Dramatiq's own waiting falls short in four places. In 1.18 an actor's TimeoutError makes it wait in a circle for ever.
An interrupted coroutine gets one second to end; then its message fails, and runs again beside what still goes on. A
coroutine that exits takes the loop along for all others, and one that blocks the loop keeps the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from dramatiq.asyncio import EventLoopThread, async_to_sync, get_event_loop_thread, set_event_loop_thread
from dramatiq.middleware import Interrupt
from dramatiq.middleware.asyncio import AsyncIO

from callboard.errors import CallboardError, ConfigurationError
from callboard.log import get_logger

if TYPE_CHECKING:
    from dramatiq import Actor

log = get_logger(__name__)

#: How often a waiting thread wakes up, so that an exception from another thread can reach it, s.
WAKE_INTERVAL_S = 0.1
#: Time that the event loop gets to start, and to end what still runs on it, s.
LOOP_START_S = 10.0
LOOP_END_S = 2.0


async def _nothing() -> None:
    """Stand for any coroutine function, to look at what Dramatiq makes of one."""


#: Dramatiq makes a function of its own of a coroutine function; all of those share their code.
_WAITING_CODE = async_to_sync(_nothing).__code__


def coroutine_function(call: Any) -> Callable[..., Coroutine[Any, Any, Any]] | None:
    """Return the coroutine function that Dramatiq made this function of, or None."""
    is_waiting = getattr(call, "__code__", None) is _WAITING_CODE
    return call.__wrapped__ if is_waiting else None


def is_async(actor: Any) -> bool:
    """Tell whether an actor needs an event loop, whatever stands around its function."""
    call = actor.fn
    while call is not None and coroutine_function(call) is None:
        call = getattr(call, "__wrapped__", None)
    return call is not None


def check_event_loop(actors: Iterable[Actor[Any, Any]]) -> None:
    """Return if these actors have what they run on. Raises: ConfigurationError, which names those that have not."""
    names = sorted(actor.actor_name for actor in actors if is_async(actor))
    if names and get_event_loop_thread() is None:
        raise ConfigurationError(
            f"{'Actor' if len(names) == 1 else 'Actors'} {', '.join(map(repr, names))} cannot run: an async function "
            "needs an event loop, and this worker has none. Add Dramatiq's middleware to the broker (from "
            "dramatiq.middleware.asyncio import AsyncIO; broker.add_middleware(AsyncIO())), or write a plain function."
        )


def waiting(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make a plain function of a coroutine function: it runs on the event loop, and the caller waits."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        thread = get_event_loop_thread()
        if thread is None or not thread.loop.is_running():
            raise CallboardError(
                f"{function.__qualname__} is a coroutine, and this process has no event loop any more."
            )
        if threading.current_thread() is thread:
            raise CallboardError(
                f"{function.__qualname__} was called on the event loop, which would wait for itself. Send a message, "
                "or await the coroutine function."
            )
        return _Run(thread.loop, partial(function, *args, **kwargs)).result()

    return run


class _Run:
    """One coroutine on the loop, and the thread that waits for its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._loop = loop
        self._start = start
        self._task: asyncio.Task[Any] | None = None
        self._is_ended = False
        self._interrupt: Interrupt | None = None
        self._is_told = False
        # Not an Event: an exception from another thread may end a wait anywhere, and then the loop would wait for the
        # event's lock. Giving back a bare one never waits.
        self._end = threading.Lock()
        self._end.acquire()

    def result(self) -> Any:
        """Run the coroutine and return what it returns.

        An exception from another thread cancels it. It is waited for however long it takes to end: until then its
        message runs, and must not run anywhere else.
        """
        while True:
            try:
                self._wait()
                return self._outcome()
            except Interrupt as error:
                if self._is_ended:
                    raise
                self._interrupt, self._is_told = error, False

    def _wait(self) -> None:
        while not self._is_ended:
            if not self._is_told:
                # The callback, and with it the task, takes this thread's context along.
                self._loop.call_soon_threadsafe(self._advance)
                self._is_told = True
            self._end.acquire(timeout=WAKE_INTERVAL_S)
            if self._loop.is_closed() and not self._is_ended:
                raise CallboardError("The event loop ended before the actor did.")

    def _outcome(self) -> Any:
        task, self._task = self._task, None
        try:
            if task is None or task.cancelled():
                raise self._interrupt or asyncio.CancelledError
            value, error = task.result()
            if error is not None:
                raise error
            return value
        finally:
            del task  # Its exception's traceback holds this frame: a circle would keep what the actor held for a while.

    # On the loop

    def _advance(self) -> None:
        """Begin the coroutine, or cancel it; told twice by a thread that was interrupted, it does so once."""
        if self._is_ended:
            return
        if self._task is None and self._interrupt is None:
            self._task = self._loop.create_task(self._run())
            self._task.add_done_callback(self._note_end)
        elif self._task is None:
            self._note_end(None)
        elif self._interrupt is not None:
            self._task.cancel()

    async def _run(self) -> tuple[Any, BaseException | None]:
        try:
            return await self._start(), None
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio would end its loop, and with it every other actor's run.
            return None, error

    def _note_end(self, _task: Any) -> None:
        self._is_ended = True
        with contextlib.suppress(RuntimeError):  # Released before.
            self._end.release()


class _SharedLoop:
    """The event loop of the process: there is one, whatever the number of workers that need it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: list[object] = []

    def begin(self, _broker: Any, worker: object) -> None:
        with self._lock:
            thread = get_event_loop_thread()
            if thread is None or not thread.is_alive():
                thread = EventLoopThread(log)
                thread.daemon = True  # A coroutine that blocks must not keep the process from ending.
                thread.name = "callboard-event-loop"
                thread.start(timeout=LOOP_START_S)
                set_event_loop_thread(thread)
            self._workers.append(worker)

    def end(self, _broker: Any, worker: object) -> None:
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
            thread = get_event_loop_thread()
            if self._workers or thread is None:
                return
            set_event_loop_thread(None)
        with contextlib.suppress(RuntimeError):  # It has ended by itself.
            asyncio.run_coroutine_threadsafe(_end_all(), thread.loop)
        thread.join(LOOP_END_S)
        if thread.is_alive():
            log.warning("a coroutine blocks the event loop, which is left behind")


_shared = _SharedLoop()


def with_shared_loop(hook: Callable[..., None]) -> Callable[..., None]:
    """Return the hook, or ours in place of one of Dramatiq's AsyncIO.

    That one makes a loop for each worker, keeps the last one only, and ends it with whichever worker ends first.
    """
    match getattr(hook, "__func__", None):
        case AsyncIO.before_worker_boot:
            return _shared.begin
        case AsyncIO.after_worker_shutdown:
            return _shared.end
    return hook


async def _end_all() -> None:
    """Cancel what still runs on the loop, wait for it, and end the loop."""
    loop, own = asyncio.get_running_loop(), asyncio.current_task()
    left = [task for task in asyncio.all_tasks() if task is not own]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    loop.stop()
