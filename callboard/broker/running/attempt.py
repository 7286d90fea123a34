"""One run of a message by an actor, and who may end it: the thread that runs it, or one completion()."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol, Self

from dramatiq.broker import MessageProxy

from callboard.errors import CallboardError, LeaseLost

if TYPE_CHECKING:
    from callboard.broker.ending.effects import Arrival, ResultRow
    from callboard.broker.ending.verdict import Decision
    from callboard.broker.sending.row import OutgoingRow
    from callboard.db import Pool


class Owner(Protocol):
    """The broker that runs a message, as far as a message needs to know it."""

    pool: Pool


class Holder(Protocol):
    """Who holds the lease of a message: a worker's leases."""

    worker_id: str
    is_closed: bool

    def release(self, delivery: Any) -> None:
        """Hand it back unless it has started."""

    def finish(self, delivery: Any) -> None:
        """Take its verdict."""


class Attempt(MessageProxy):
    """What threads and tasks of one actor share of its message: they may come to its end at the same moment."""

    message_id: str
    # What is written with the verdict.
    followups: list[OutgoingRow]
    results: list[ResultRow]
    # A thread that takes the message up and a shutdown that hands it back may come at the same moment.
    _lock: threading.Lock
    # Most messages never change these: on the class they cost nothing.
    #: The broker that runs it; None until a thread takes it up.
    broker: Owner | None = None
    #: Who claimed it and owes the database its end; None: a consumer without a worker.
    holder: Holder | None = None
    decision: Decision | None = None
    #: Written with the verdict, as followups and results are.
    arrival: Arrival | None = None
    #: Set from the actor's return on, to the thread that finishes it: what hooks enqueue there belongs to the verdict,
    #: and what still runs of its actor elsewhere has no part in it any more.
    finishing_thread_id: int | None = None
    #: Inside completion(), which ends the message.
    is_completing = False
    #: The verdict is given, or the lease handed back: whatever comes later changes nothing.
    is_ended = False

    @property
    def takes_effects(self) -> bool:
        """Whether what hooks send and store now is written with the verdict that is to come."""
        return self.finishing_thread_id == threading.get_ident() and not self.is_ended

    @property
    def is_decidable(self) -> bool:
        """Whether the calling thread may decide its end: nobody may that its actor left behind."""
        return self.finishing_thread_id in (None, threading.get_ident())

    def begin_finishing(self, error: BaseException | None) -> None:
        """Begin its end: the actor has returned, or failed. Raises: CallboardError for one that returned too early."""
        self.finishing_thread_id = threading.get_ident()
        if self.is_completing and error is None:
            raise CallboardError(
                f"The actor of message {self.message_id} returned while completion() was still open in a thread or "
                "task that it started. Wait for those in the actor."
            )

    def begin_completion(self) -> None:
        """Let one completion() end the message. Raises: CallboardError, LeaseLost where it cannot any more."""
        if self.holder is None or self.holder.is_closed:
            raise LeaseLost(f"The worker has ended and handed message {self.message_id} back. Nothing was written.")
        with self._lock:  # Two threads of one actor may come here at once.
            if not (self.is_ended or self.is_completing):
                # Set before the look: begin_finishing() does it the other way round, so one of the two sees the other.
                self.is_completing = True
                if self.finishing_thread_id is None:
                    return
                self.is_completing = False
        if self.finishing_thread_id is not None:
            raise CallboardError(
                f"The actor of message {self.message_id} has returned, and completion() belongs inside of it. Wait in "
                "the actor for the threads and tasks that it starts."
            )
        raise CallboardError(
            f"Message {self.message_id} has ended already, or is about to in a completion() around this one. "
            "Use completion() once, as the last step."
        )

    def ending(self) -> Self:
        """Return a copy that collects what follows from its success.

        Where completion() fails nothing of it may travel with another verdict; and while it runs in a thread of the
        actor's own, the one that gave up waiting may be giving that verdict.
        """
        ending = object.__new__(type(self))
        ending.__dict__.update(self.__dict__)
        ending.failed, ending._exception, ending.decision, ending.arrival = False, None, None, None
        ending.followups, ending.results = [], []
        ending.finishing_thread_id = threading.get_ident()
        return ending
