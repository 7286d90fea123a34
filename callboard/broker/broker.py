"""The broker: dramatiq-pg's class, table and wire format, with the road of a message made safe.

Sending is one INSERT with a deadline. In a worker process three threads do the database's part: the intake
claims, completions write verdicts in batches, liveness keeps the process known and rescues what others lost; a second
Worker in the process has three of its own.
Messages that hooks enqueue after an actor's return travel with the verdict, in its transaction.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dramatiq import Actor, Message
from dramatiq.errors import QueueJoinTimeout
from dramatiq.middleware import Middleware, MiddlewareError, SkipMessage
from dramatiq.results import Results

from callboard.broker.backends.results import PostgresResults
from callboard.broker.context import set_current_delivery
from callboard.broker.defaults import default_middleware, refuse_stock_options
from callboard.broker.ending.verdict import Decision
from callboard.broker.hooks import HookedBroker
from callboard.broker.options import BrokerOptions, wrong_span
from callboard.broker.running.async_actors import check_event_loop
from callboard.broker.running.consumer import PostgresConsumer, finish
from callboard.broker.running.current import running_delivery
from callboard.broker.running.delivery import Delivery
from callboard.broker.running.interruptible_actor import make_interruptible
from callboard.broker.schedules.declaration import check_schedules
from callboard.broker.sending.row import OutgoingRow
from callboard.broker.sending.sender import Batch, Sender, as_stored, store_in, with_messages
from callboard.broker.standalone_consumer import StandaloneConsumer
from callboard.broker.worker.workers import Workers
from callboard.db import Pool, sql
from callboard.db import schema as db_schema
from callboard.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable, InvalidMessage
from callboard.terms import Outcome

if TYPE_CHECKING:
    from dramatiq.worker import Worker

    from callboard.broker.worker.runtime import WorkerRuntime


class PostgresBroker(HookedBroker):
    """A Dramatiq broker on Postgres.

    url is a connection string or a function that returns one, called at first use: making a broker does no I/O.
    options may be a function for the same reason. middleware replaces Dramatiq's default list, which is taken without
    its Prometheus middleware: that binds port 9191 in every process and counts wrongly. results=True adds Dramatiq's
    Results with a PostgresResults. Raises: ConfigurationError for options of dramatiq-pg that have no meaning here.
    """

    def __init__(
        self,
        *,
        url: str | Callable[[], str] = "",
        middleware: Sequence[Middleware] | None = None,
        options: BrokerOptions | Callable[[], BrokerOptions] | None = None,
        pool: Pool | None = None,
        results: bool = False,
        schema: str | None = None,
        prefix: str | None = None,
    ) -> None:
        refuse_stock_options(url=url, pool=pool, schema=schema, prefix=prefix)
        pool = pool or Pool(url)
        middleware = default_middleware() if middleware is None else [*middleware]
        if results:
            middleware.append(Results(backend=PostgresResults()))
        super().__init__(pool=pool, middleware=middleware)
        self._options = options or BrokerOptions()
        self._workers = Workers(self, lambda: self.options)
        self._consumers: weakref.WeakSet[StandaloneConsumer] = weakref.WeakSet()
        self._sender = Sender(self.pool, is_prepared=lambda: self.options.listens)
        # The stock class ignores these names, so a service's own tools may show them.
        self.actor_options |= {"priority", "dedupe_key"}
        atexit.register(self._sender.doorbell.flush)

    @property
    def options(self) -> BrokerOptions:
        return self._options() if callable(self._options) else self._options

    @property
    def worker(self) -> WorkerRuntime | None:
        """The broker's part of a Worker, in a worker process; with several Workers that of the newest."""
        return self.workers[-1] if self.workers else None

    @property
    def workers(self) -> tuple[WorkerRuntime, ...]:
        """The broker's part of each Worker that run on this broker in this process."""
        return self._workers.all

    def worker_of(self, worker: Worker) -> WorkerRuntime | None:
        """Return the broker's part of one Worker, while it runs."""
        return self._workers.of(worker)

    # Sending

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue; there are no delay queues, as a delayed message waits in its own."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = True
            self.emit_after("declare_queue", queue_name)
            for runtime in self.workers:
                runtime.add_queue(queue_name)

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        """Declare an actor. Raises: ConfigurationError for options that cannot be meant."""
        if wrong := wrong_span(actor.options):
            raise ConfigurationError(f"Actor {actor.actor_name!r} {wrong}")
        if self.workers:
            check_event_loop([actor])
        super().declare_actor(actor)
        if self.workers:
            make_interruptible(actor)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Store a message, to run after delay ms.

        The id of the message that this thread runs means its retry, and is written with its verdict. Any other id
        that is known already changes nothing, so sending again is safe.

        Raises: InvalidMessage at once, BrokerUnavailable (with the message) within 5 s.
        """
        delivery = running_delivery()
        # Another broker's message says nothing about ours, and whoever an actor left behind nothing about its message.
        if delivery is not None and not (delivery.broker is self and delivery.is_decidable):
            delivery = None
        if delivery is not None and delivery.message_id == message.message_id:
            retries = message.options.get("retries")
            if type(retries) is not int:  # None was counted, or a row written by hand holds anything.
                retries = delivery.retries + 1
            delivery.decision = Decision(Outcome.RETRY, wait_s=(delay or 0) / 1000, retries=retries)
            return message
        try:
            self.emit_before("enqueue", message, delay)
        except MiddlewareError as error:
            if delivery is not None and delivery.takes_effects and not delivery.has_failed:
                delivery.end_as_invalid(error)
            raise
        if delivery is not None and delivery.takes_effects:
            self._enqueue_with_verdict(delivery, message, delay)
            return message
        row = self._row(message, delay)
        try:
            stored_id = self._sender.store(row)
        except BrokerUnavailable as error:
            raise with_messages(error, message, [message]) from error.__cause__
        message = as_stored(message, stored_id)
        self.emit_after("enqueue", message, delay)
        return message

    def send_in(self, connection: Any, *messages: Message[Any], delay: int | None = None) -> list[Message[Any]]:
        """Store messages in the caller's transaction; see callboard.send_in()."""
        taken = store_in(connection, self._rows(messages, delay))
        return self._sent(messages, taken, delay)

    def send_many(self, messages: Iterable[Message[Any]], *, delay: int | None = None) -> list[Message[Any]]:
        """Store many messages in one transaction; see callboard.send_many()."""
        batch = Batch(messages)
        try:
            taken = self._sender.store_many(self._rows(batch, delay))
        except Exception as error:
            batch.raise_failure()
            if not isinstance(error, DatabaseUnavailable):
                raise
            # Also those that were not looked at yet: whoever sends again what the error carries means all of them.
            messages = batch.take_all()
            raise with_messages(error, messages, messages) from error.__cause__
        return self._sent(batch.taken, taken, delay)

    def _rows(self, messages: Iterable[Message[Any]], delay: int | None) -> Iterator[OutgoingRow]:
        is_hooked = self.has_hooks("before_enqueue")
        for message in messages:
            if is_hooked:
                self.emit_before("enqueue", message, delay)
            yield self._row(message, delay)

    def _sent(self, messages: Iterable[Message[Any]], taken: dict[str, str], delay: int | None) -> list[Message[Any]]:
        sent = [*messages]
        if taken:
            sent = [as_stored(message, taken.get(message.message_id, message.message_id)) for message in sent]
        self.emit_enqueued(sent, delay)
        return sent

    def _row(self, message: Message[Any], delay: int | None) -> OutgoingRow:
        actor = self.actors.get(message.actor_name)
        return OutgoingRow.of(message, delay_ms=delay, default_priority=actor.priority if actor else 0)

    def _enqueue_with_verdict(self, delivery: Delivery, message: Message[Any], delay: int | None) -> None:
        try:
            row = self._row(message, delay)
        except InvalidMessage as error:
            delivery.end_as_invalid(error)
            raise
        callbacks = delivery.options.get("group_completion_callbacks") or ()
        if delivery.arrival is not None and any(c["message_id"] == message.message_id for c in callbacks):
            # Stored, and told to middleware, only if this message turns out to be the last of its group.
            delivery.arrival.callbacks.append((row, message, delay))
            return
        delivery.followups.append(row)
        self.emit_after("enqueue", message, delay)

    # Working

    def consume(
        self, queue_name: str, prefetch: int = 1, timeout: int = 30_000
    ) -> PostgresConsumer | StandaloneConsumer:
        """Return a consumer: for Dramatiq's Worker one that waits, as the intake claims; else one that claims."""
        if type(threading.current_thread()).__module__ == "dramatiq.worker":
            return PostgresConsumer(queue_name, timeout, self._workers.closed.wait)
        consumer = StandaloneConsumer(self, queue_name, prefetch, timeout, listens=self.options.listens)
        self._consumers.add(consumer)
        return consumer

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Emit a signal; the worker's own life is tied to it here, where no middleware's order matters."""
        if signal == "process_message" and isinstance(args[0], Delivery):
            self._start(args[0])
        elif signal == "worker_boot":
            self._workers.prepare(args[0])
        elif signal == "worker_shutdown" and (runtime := self.worker_of(args[0])):
            runtime.stop_claiming()
        super().emit_before(signal, *args, **kwargs)
        if signal == "worker_boot":
            check_schedules(self)
            self._workers.check_event_loop()
        if signal == "worker_shutdown" and (runtime := self.worker_of(args[0])):
            # After the hooks, so that actors which asked to hear of a shutdown use the grace.
            runtime.shutdown.drain()

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        delivery = args[0] if args and isinstance(args[0], Delivery) else None
        if delivery is not None and signal in ("process_message", "skip_message"):
            error = kwargs.get("exception")
            delivery.begin_finishing(error)
            if delivery.is_cancelled and error is not None:
                # However its middleware decides: so that a failure is stored for whoever waits for its result.
                delivery.fail()
        try:
            super().emit_after(signal, *args, **kwargs)
        finally:
            if delivery is not None and signal == "nack":
                finish(delivery)
        if signal == "worker_boot":
            self._workers.start(args[0])
        elif signal == "worker_shutdown":
            self._workers.close(args[0])

    def _start(self, delivery: Delivery) -> None:
        if not delivery.start():
            if delivery.holder is not None:
                delivery.holder.release(delivery)
            raise SkipMessage("its lease was handed back")
        delivery.broker = self
        set_current_delivery(delivery)

    def close(self) -> None:
        """End the workers and the consumers, ring what is owed, and close the connections."""
        for consumer in list(self._consumers):
            consumer.close()
        self._workers.close_all()
        self._sender.doorbell.flush()
        self.pool.close()

    # Looking

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """Return how many messages of the queue are ready or running, delayed, and dead."""
        with db_schema.expected(), self.pool.cursor() as cursor:
            cursor.execute(sql("queues/count_messages"), {"queue_name": queue_name})
            ready, delayed, running, dead = cursor.fetchone()
        return ready + running, delayed, dead

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until the queue holds no message. timeout is in ms. Raises: QueueJoinTimeout."""
        until = None if timeout is None else time.monotonic() + timeout / 1000
        while any(self.get_queue_message_counts(queue_name)[:2]):
            if until is not None and time.monotonic() > until:
                raise QueueJoinTimeout(queue_name)
            time.sleep(0.05)

    def flush(self, queue_name: str) -> None:
        """Discard the queue's waiting messages; they stay in the history as discarded."""
        with db_schema.expected(), self.pool.cursor() as cursor:
            cursor.execute(sql("queues/discard_queued"), {"queue_name": queue_name})

    def flush_all(self) -> None:
        """Discard the waiting messages of every declared queue."""
        for queue_name in self.queues:
            self.flush(queue_name)
