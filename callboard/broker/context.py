"""Which message the running code belongs to, and where code has to belong to one.

A context variable holds it: an async actor runs on the event loop's thread, and tasks and asyncio.to_thread() take the
context along. A bare thread and an executor do not. Nobody can tell such a thread from one that has nothing to do with
any message, and what it wrote in a plain transaction would be there twice after a crash. So in a worker process the
calls that mean "my message" raise there.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

from callboard.errors import CallboardError

#: Never set: nobody knows what this context belongs to. None: it belongs to no message.
_running: ContextVar[Any] = ContextVar("callboard_running_message")
UNKNOWN: Any = object()
#: Where a process that runs a worker tells the children that multiprocessing starts which one it is.
WORKER_PID_VARIABLE = "CALLBOARD_WORKER_PID"


def running(otherwise: Any = None) -> Any:
    """Return the delivery this context belongs to, or the argument where nobody knows."""
    return _running.get(otherwise)


def set_current_delivery(delivery: object | None) -> None:
    """Note what this thread runs from now on; called by the broker only."""
    _running.set(delivery)


@contextmanager
def standing_in(delivery: object) -> Iterator[None]:
    """Let this one stand for the running message, for what hooks send and store in the block."""
    token = _running.set(delivery)
    try:
        yield
    finally:
        _running.reset(token)


class _Process:
    """What this process is: one that runs workers, did so, is the child of such a one, or none of it."""

    def __init__(self) -> None:
        self._workers: set[object] = set()
        self._is_dramatiqs = False
        self._is_fork = False
        self._earlier: WeakSet[threading.Thread] = WeakSet()
        #: Threads that an actor may have left behind when the last worker ended.
        self._left: WeakSet[threading.Thread] = WeakSet()

    def note_start(self, worker: object, *, is_dramatiqs: bool) -> None:
        if not self._workers:
            self._earlier = WeakSet(threading.enumerate())
            os.environ[WORKER_PID_VARIABLE] = str(os.getpid())
        self._workers.add(worker)
        self._is_dramatiqs = self._is_dramatiqs or is_dramatiqs
        self._is_fork = False

    def note_end(self, worker: object) -> None:
        self._workers.discard(worker)
        if not self._workers:
            self._left.update({*threading.enumerate()} - {*self._earlier} - {threading.current_thread()})
            os.environ.pop(WORKER_PID_VARIABLE, None)

    def note_fork(self) -> None:
        self._is_fork = self._is_fork or bool(self._workers)
        self._workers.clear()

    @property
    def is_fork(self) -> bool:
        return self._is_fork

    def is_child(self) -> bool:
        """Tell whether it is a child that a worker process started by multiprocessing or a fork, to do its work."""
        if self._is_fork:  # It took its parent's message along, and holds none itself.
            return True
        parent = multiprocessing.parent_process()
        return parent is not None and os.environ.get(WORKER_PID_VARIABLE) == str(parent.pid)

    def may_hide_a_message(self) -> bool:
        """Tell whether an actor may have started the calling thread."""
        thread = threading.current_thread()
        if self._is_dramatiqs:
            return True
        # No actor starts a program's main thread, and what it runs on an event loop there brings its context along.
        return thread in self._left or (bool(self._workers) and thread is not threading.main_thread())


_process = _Process()
os.register_at_fork(after_in_child=_process.note_fork)
note_worker_start = _process.note_start
note_worker_end = _process.note_end


def is_fork() -> bool:
    """Tell whether this process is the fork of one that runs workers."""
    return _process.is_fork


def refuse_without_message(call: str) -> None:
    """Return where nothing that runs belongs to a message: outside of worker processes. Raises: CallboardError."""
    refuse_in_child(call)
    if _process.may_hide_a_message():
        raise CallboardError(
            f"{call} was called in a worker process by thread {threading.current_thread().name!r}, which nothing ties "
            "to a message, so it could not be fenced. Give a thread that an actor starts the actor's context: "
            "threading.Thread(target=contextvars.copy_context().run, args=(function,)), or "
            "executor.submit(contextvars.copy_context().run, function). Where no message is meant, use a database "
            "connection of your own."
        )


def refuse_in_child(call: str) -> None:
    """Return unless a worker process started this one, as an executor of processes does. Raises: CallboardError."""
    if _process.is_child():
        raise CallboardError(
            f"{call} was called in process {os.getpid()}, the child of a worker process: the message is its parent's. "
            "Return to the actor what is to be written, and write it there."
        )
