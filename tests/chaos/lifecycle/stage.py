"""What all actions of the machine share: the model, the tables, the processes, and who has sent what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import psycopg2
from dramatiq import Message

from callboard.broker import service_broker as default
from callboard.db import Pool
from tests.chaos.lifecycle.model import Entry, Model
from tests.chaos.lifecycle.process import Process
from tests.chaos.lifecycle.sessions import Sessions
from tests.chaos.lifecycle.tables import Tables, new_id
from tests.postgres.broker.fake_workers import opened

QUEUES = ("emails", "reports")
#: What each of the processes serves, in order of turn.
SERVED = (("emails", "reports"), ("reports", "emails"), ("emails",))
#: One jump of the clock. Every limit (2, 10, 20 s and the waits of 6 and 13 s) lies well between two multiples.
JUMP_S = 7.0
#: What an action returns that found nothing to act on.
IDLE = object()


class OpenTransaction:
    """Somebody's transaction with send_in() in it."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg2.connect(url)
        # From here on its now() stands still.
        self.connection.cursor().execute("SELECT 1")
        #: Message, delay and the model's number of the statement.
        self.sent: list[tuple[Message[Any], float, int]] = []


class Stage:
    """A run of the machine."""

    def __init__(self, url: str, counts: Counter[str]) -> None:
        self.url, self.counts = url, counts
        self._lent = opened(url)
        self.tables = Tables(self._lent.__enter__())
        self.tables.clear()
        self.model = Model()
        self.pool = Pool(url)
        self.processes: list[Process] = [Process(url, names) for names in SERVED]
        self.sessions = Sessions(self.model, self.tables, self.processes)
        self.open: list[OpenTransaction] = []
        self.quiet: set[str] = set()
        self.is_over = False
        self.has_acted = True
        self.begun_clock = time.monotonic()
        for process in self.processes:
            self.sessions.turn(process)

    def teardown(self) -> None:
        default._default_broker = None
        for transaction in self.open:
            transaction.connection.close()
        backends = [backend for process in self.processes for backend in process.die()]
        self.pool.close()
        self.tables.wait_for_end(backends)
        self._lent.__exit__(None, None, None)

    def _message(self, queue_name: str, priority: int, key: str | None) -> Message[Any]:
        options: dict[str, Any] = {"priority": priority}
        # A key in a transaction that is open makes the next sender wait, which one thread cannot.
        if key is not None and (queue_name, key) not in self.model.keys_in_flight:
            options["dedupe_key"] = key
        return Message(
            queue_name=queue_name, actor_name="job", args=(), kwargs={}, options=options, message_id=new_id()
        )

    def _entries(self, *states: str) -> list[Entry]:
        return [entry for entry in self.model.messages.values() if entry.state in states]

    def _first(self, which: int, is_meant: Callable[[Process], Any]) -> Process | None:
        meant = [process for process in self.processes if is_meant(process)]
        return pick(meant, which) if meant else None

    def _store(self, message: Message[Any], delay_s: float, event: int) -> Entry:
        entry = self.model.store(
            message.message_id,
            message.queue_name,
            priority=message.options["priority"],
            key=message.options.get("dedupe_key"),
            delay_s=delay_s,
            event=event,
        )
        self.counts["dedupe hits"] += entry.message_id != message.message_id
        return entry


def pick(items: Sequence[Any], which: int) -> Any:
    return items[which % len(items)]
