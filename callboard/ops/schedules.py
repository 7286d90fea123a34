"""Periodic messages as an operator sees them: what is sent when, sending one now, pausing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from callboard.db import sql
from callboard.errors import Conflict, NotFound
from callboard.ops import audit
from callboard.ops.wording import in_a_row, work_command
from callboard.terms import BEAT_OVERDUE_S

State = Literal["active", "paused", "not declared"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule; last_state is what became of its last message: None before the first, or when its history is gone."""

    name: str
    cron: str
    timezone: str
    actor_name: str
    queue_name: str
    kwargs: dict[str, Any]
    dedupe_key: str | None
    catch_up: str
    is_paused: bool
    #: Whether a living worker declares it; otherwise it is not sent.
    is_declared: bool
    #: Whether a living worker serves its queue.
    is_served: bool
    last_slot_at: datetime | None
    last_message_id: str | None
    last_state: str | None
    next_at: datetime

    @property
    def state(self) -> State:
        if not self.is_declared:
            return "not declared"
        return "paused" if self.is_paused else "active"


def list_schedules(cursor: Any) -> list[Schedule]:
    """Return every schedule that is known, by name."""
    cursor.execute(sql("schedules/list"), {"beat_overdue_s": BEAT_OVERDUE_S})
    return [Schedule(*row) for row in cursor.fetchall()]


def notes_on(schedules: Sequence[Schedule]) -> list[str]:
    """Return what a person should know about schedules that do not do what they seem to."""
    notes = []
    for queue_name in sorted({each.queue_name for each in schedules if each.state == "active" and not each.is_served}):
        names = [each.name for each in schedules if each.queue_name == queue_name and each.state == "active"]
        notes.append(
            f"No worker serves queue {queue_name!r}: what {in_a_row(names)} sends waits there. "
            f"Start one with: {work_command([queue_name])}"
        )
    if undeclared := [each.name for each in schedules if not each.is_declared]:
        notes.append(f"No living worker declares {in_a_row(undeclared)}: nothing is sent for it.")
    return notes


def run_schedule(cursor: Any, name: str, operator: audit.Operator) -> str:
    """Send a message of the schedule now and return its id; its slots and a pause stay as they are.

    The message has no slot. Raises: NotFound; Conflict while another message holds the schedule's dedupe_key.
    """
    _check_known(cursor, [name])
    cursor.execute(sql("schedules/run"), {"schedule_name": name})
    message_id, holder, _ = cursor.fetchone()
    if message_id is None:
        raise Conflict(
            f"Schedule {name!r} was not run: message {holder or '(just ended)'} holds its dedupe_key and waits or runs "
            "already. Look at it with: callboard status"
        )
    audit.record(cursor, operator, "schedules run", filter={"name": name}, count=1, details={"message_id": message_id})
    return str(message_id)


def pause_schedules(cursor: Any, names: Sequence[str], operator: audit.Operator) -> list[str]:
    """Pause schedules and return those that were not paused before. Raises: NotFound; then none is."""
    return _set_paused(cursor, names, operator, is_paused=True)


def resume_schedules(cursor: Any, names: Sequence[str], operator: audit.Operator) -> list[str]:
    """Resume schedules and return those that were paused; slots missed meanwhile follow their catch_up.

    Raises: NotFound; then none is.
    """
    return _set_paused(cursor, names, operator, is_paused=False)


def _set_paused(cursor: Any, names: Sequence[str], operator: audit.Operator, *, is_paused: bool) -> list[str]:
    _check_known(cursor, names)
    cursor.execute(sql("schedules/pause"), {"names": [*names], "is_paused": is_paused})
    changed = sorted(row[0] for row in cursor.fetchall())
    if changed:
        action = "schedules pause" if is_paused else "schedules resume"
        audit.record(cursor, operator, action, filter={"names": [*names]}, count=len(changed))
    return changed


def _check_known(cursor: Any, names: Sequence[str]) -> None:
    known = [each.name for each in list_schedules(cursor)]
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if unknown:
        are = f"There are: {in_a_row(known)}." if known else "There are none: no worker has declared any yet."
        raise NotFound(f"No schedule is named {', '.join(map(repr, unknown))}. {are}")
