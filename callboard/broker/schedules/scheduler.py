"""The clock of periodic messages: workers store what they declare, and the leader sends each slot when it comes.

One slot, one message, whatever dies: the message and the schedule's next slot are written in one statement, fenced by
the slot it was read with, and the message's id is made of the schedule's name and the slot. All moments are the
database's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import psycopg2
from dramatiq import Message

from callboard.broker.schedules.declaration import Schedule
from callboard.db.rows.row_limits import ROW_BYTES_MAX
from callboard.errors import DatabaseUnavailable, InvalidMessage
from callboard.log import get_logger

log = get_logger(__name__)

#: Longest time between two looks: so late it is noticed that somebody resumed a schedule or declared a new one, s.
LOOK_INTERVAL_S = 5.0
#: Schedules of one look, and slots of one statement; the rest follows at the next tick, after the heartbeat.
DUE_MAX = 50
SLOTS_MAX = 50
#: Pause between two ticks while more is due, s.
TICK_MIN_S = 0.02
#: Sent with each statement: the heartbeat on the same connection must not wait for a locked table or a slow disk.
LIMITS = "SET LOCAL lock_timeout = '250ms'; SET LOCAL statement_timeout = '2s';"

Execute = Callable[[str, dict[str, Any], str], list[Any]]
SendListener = Callable[[str, Message[Any]], None]


class Due(NamedTuple):
    """A row of sql/schedules/due.sql."""

    schedule: Schedule
    next_at: datetime
    changed_at: datetime


class Scheduler:
    """Called by liveness, on its connection; execute(name, parameters, before) runs a statement and returns its rows.

    on_send(moment, message) is called before a message is made into a row, with "before", and after it is stored.
    """

    def __init__(self, execute: Execute, declared: Sequence[Schedule], on_send: SendListener) -> None:
        self._execute = execute
        self._declared = list(declared)
        self._on_send = on_send
        #: When this process first declared: what it declares again later counts as from then.
        self._declared_at: datetime | None = None
        self._look_clock = float("-inf")
        #: Schedules that cannot be sent, and when each is tried again.
        self._failing: dict[str, float] = {}

    @property
    def pause_s(self) -> float:
        """How long nothing is to be done, s."""
        return max(self._look_clock - time.monotonic(), 0.0)

    def register(self, worker_id: str) -> None:
        """Store this worker's declarations."""
        if not self._declared:
            return
        from callboard.broker.schedules.cron import Cron  # Needs cronsim, which is only where something is declared.

        now = self._execute("schedules/read_clock", {}, "")[0][0]
        self._declared_at = self._declared_at or now
        rows = [
            {
                "schedule_name": own.name,
                "actor_name": own.actor_name,
                "queue_name": own.queue_name,
                "priority": own.priority,
                "kwargs": dict(own.kwargs),
                "dedupe_key": own.dedupe_key,
                "cron": own.cron,
                "timezone": own.timezone,
                "catch_up": own.catch_up,
                "next_at": Cron.of(own.cron, own.timezone).after(now).isoformat(),
            }
            # One row a name: the same declaration may stand twice.
            for own in {own.name: own for own in self._declared}.values()
        ]
        parameters = {"schedules": json.dumps(rows), "worker_id": worker_id, "declared_at": self._declared_at}
        # One that cannot be stored is said, and keeps this process from nothing else.
        for (name,) in self._attempt("", lambda: self._execute("schedules/register", parameters, "")) or ():
            log.info("schedule was declared", schedule=name)
        self._look_clock = float("-inf")

    def send_when_due(self) -> None:
        """Send what is due, a bounded number at a time; called by the leader at each tick."""
        clock = time.monotonic()
        if clock < self._look_clock:
            return
        failing = [name for name, until in self._failing.items() if clock < until]
        rows = self._attempt("", lambda: self._execute("schedules/due", {"failing": failing, "limit": DUE_MAX}, LIMITS))
        if rows is None:
            self._look_clock = clock + LOOK_INTERVAL_S
            return
        now, earliest = rows[0][:2]
        due = [row[2:] for row in rows if row[2] is not None]
        wait_s = LOOK_INTERVAL_S if earliest is None else (earliest - now).total_seconds()
        self._look_clock = time.monotonic() + min(wait_s, LOOK_INTERVAL_S)
        for each in due:
            is_left = self._attempt(each[0], partial(self._send, each, now))
            if is_left or (is_left is not None and len(due) == DUE_MAX):
                self._look_clock = float("-inf")

    def _send(self, row: Sequence[Any], now: datetime) -> bool:
        """Send a schedule's slots up to now; return whether some are left for the next look."""
        from callboard.broker.schedules.cron import CATCH_UP_MAX, Cron, slots_to_send

        due = _due(row)
        own, cron = due.schedule, Cron.of(due.schedule.cron, due.schedule.timezone)
        slots, is_cut = slots_to_send(cron, own.catch_up, due.next_at, now)
        if is_cut:
            log.warning(
                "schedule missed more slots than are caught up; the oldest are left out",
                schedule=own.name,
                since=due.next_at.isoformat(),
                sent=CATCH_UP_MAX,
            )
        if own.dedupe_key is not None:
            slots = slots[-1:]  # Only one of them could hold the key.
        batch, rest = slots[:SLOTS_MAX], slots[SLOTS_MAX:]
        next_at = rest[0] if rest else cron.after(now)
        if self._store(due, batch, next_at, now):
            self._look_clock = min(self._look_clock, time.monotonic() + (next_at - now).total_seconds())
            if not batch:
                slot_at = due.next_at.isoformat()
                log.warning("schedule was late, and its missed slots are not sent", schedule=own.name, slot_at=slot_at)
        return bool(rest)

    def _store(self, due: Due, slots: Sequence[datetime], next_at: datetime, now: datetime) -> bool:
        """Store the messages of slots and move the schedule on; False where another leader was faster."""
        messages = [due.schedule.message(slot, sent_at=now) for slot in slots]
        for message in messages:
            self._on_send("before", message)
        rows = [due.schedule.row(message) for message in messages]
        parameters = {
            "schedule_name": due.schedule.name,
            "due_at": due.next_at,
            "changed_at": due.changed_at,
            "next_at": next_at,
            "last_slot_at": slots[-1] if slots else None,
            "last_message_id": rows[-1].message_id if rows else None,
            "message_ids": [row.message_id for row in rows],
            "messages": [row.message for row in rows],
        }
        moved, stored, _ = self._execute("schedules/send", parameters, LIMITS)[0]
        for message in messages:
            if message.message_id in stored:
                self._on_send("after", message)
        return bool(moved)

    def _attempt(self, name: str, action: Callable[[], Any]) -> Any:
        """Return what the action returns, or None when it failed: that stops neither other schedules nor the rescue."""
        try:
            result = action()
        except (DatabaseUnavailable, TimeoutError):
            raise  # The connection is lost, which is the caller's matter.
        except Exception as error:
            if isinstance(error, psycopg2.Error) and not error.pgcode:
                raise
            if name not in self._failing:
                log.warning(
                    "schedule could not be sent; tried again every few seconds",
                    schedule=name or "all",
                    error_class=type(error).__name__,
                    error=str(error).strip(),
                )
            # Soon enough for the next look to try it again.
            self._failing[name] = time.monotonic() + LOOK_INTERVAL_S / 2
            return None
        if self._failing.pop(name, None) is not None:
            log.info("schedule is sent again", schedule=name or "all")
        return result


def _due(row: Sequence[Any]) -> Due:
    name, actor, queue, priority, kwargs, dedupe_key, cron, timezone, catch_up, next_at, changed_at = row
    if kwargs is None:
        raise InvalidMessage(f"The kwargs of schedule {name} have more than {ROW_BYTES_MAX} bytes. Make them smaller.")
    return Due(
        Schedule(name, actor, queue, priority, cron, timezone, json.loads(kwargs), catch_up, dedupe_key),
        next_at,
        changed_at,
    )
