"""The tables under the machine: emptied before each run, read after each step, and moved through time."""

from __future__ import annotations

import time
import uuid
from typing import Any

from callboard.broker.liveness.heartbeat import MAX_LOST_WORKERS
from tests.chaos.lifecycle.model import NEVER, Entry, Model
from tests.chaos.lifecycle.process import MAX_RETRIES
from tests.postgres.broker.fake_workers import Query

_TABLES = (
    "dramatiq.queue",
    "callboard.message_history",
    "callboard.dead_letters",
    "callboard.attempts",
    "callboard.workers",
    "callboard.queue_controls",
    "callboard.cancellations",
    "effect",
)
_SNAPSHOT = """
SELECT
    (SELECT array_agg(ARRAY[message_id::text, queue_name, state::text, priority::text, dedupe_key, attempt::text,
        retries::text, lost_workers::text, generation::text, lease_id::text, worker_id::text]) FROM dramatiq.queue),
    (SELECT array_agg(ARRAY[message_id::text, outcome, attempt::text, retries::text, lost_workers::text,
        generation::text, lease_id::text]) FROM callboard.message_history),
    (SELECT array_agg(ARRAY[message_id::text, reason, dedupe_key, attempt::text, retries::text, lost_workers::text,
        generation::text]) FROM callboard.dead_letters),
    (SELECT array_agg(ARRAY[message_id::text, generation::text, attempt::text, outcome]) FROM callboard.attempts),
    (SELECT array_agg(ARRAY[message_id::text, lease_id::text]) FROM effect),
    (SELECT array_agg(ARRAY[worker_id::text, (suspected_at IS NOT NULL)::text]) FROM callboard.workers),
    (SELECT array_agg(ARRAY[message_id::text, worker_id::text]) FROM callboard.cancellations),
    (SELECT array_agg(ARRAY[message_id::text, extract(epoch FROM available_at - now())::text]) FROM dramatiq.queue)
"""
#: The database's clock goes on while the model's stands still; a run is over long before that makes a difference, s.
SLIP_MAX_S = 3.0

Rows = set[tuple[str | None, ...]]


class Tables:
    """What the machine asks of the database itself, on a connection of its own."""

    def __init__(self, db: Query) -> None:
        self._db = db
        db("CREATE TABLE IF NOT EXISTS effect (message_id uuid, lease_id bigint)")

    def clear(self) -> None:
        self._db(";".join(f"DELETE FROM {table}" for table in _TABLES))

    def let_time_pass(self, seconds: float) -> None:
        """Make everything that has a moment that much older."""
        self._db(
            "UPDATE dramatiq.queue SET available_at = available_at - make_interval(secs => %(s)s), "
            "claimed_at = claimed_at - make_interval(secs => %(s)s); "
            "UPDATE callboard.workers SET beat_at = beat_at - make_interval(secs => %(s)s), "
            "suspected_at = suspected_at - make_interval(secs => %(s)s); "
            "UPDATE callboard.queue_controls SET paused_until = paused_until - make_interval(secs => %(s)s)",
            s=seconds,
        )

    def silence(self, worker_id: str, seconds: float) -> None:
        self._db(
            "UPDATE callboard.workers SET beat_at = beat_at - make_interval(secs => %s) WHERE worker_id = %s",
            seconds,
            worker_id,
        )

    def hold_suspicions(self) -> None:
        """Keep the suspicions of this moment young: the second look comes 2 s later, and machines may be slow."""
        self._db("UPDATE callboard.workers SET suspected_at = now() WHERE suspected_at > now() - interval '6 seconds'")

    def pause(self, queue_name: str, seconds: float | None) -> None:
        self._db(
            "INSERT INTO callboard.queue_controls (queue_name, is_paused, paused_until) "
            "VALUES (%(queue)s, TRUE, now() + make_interval(secs => %(s)s)) "
            "ON CONFLICT (queue_name) DO UPDATE SET is_paused = TRUE, paused_until = EXCLUDED.paused_until",
            queue=queue_name,
            s=seconds,
        )

    def resume(self, queue_name: str) -> None:
        self._db("UPDATE callboard.queue_controls SET is_paused = FALSE WHERE queue_name = %s", queue_name)

    def end_session(self, backend: int) -> None:
        self._db("SELECT pg_terminate_backend(%s)", backend)
        self.wait_for_end([backend])

    def wait_for_end(self, backends: list[int]) -> None:
        """Wait until the backends are gone, and their locks with them."""
        until_clock = time.monotonic() + 10
        # Looked at more often than wait_until() does: this happens a thousand times, and takes a millisecond.
        while backends and self._db("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", backends):
            assert time.monotonic() < until_clock, f"sessions {backends} did not end"
            time.sleep(0.001)

    def check(self, model: Model) -> None:
        """Hold the tables equal to the model, and both to what is promised."""
        *tables, moments = self._db(_SNAPSHOT)[0]
        found = [{tuple(row) for row in rows or []} for rows in tables]
        for name, rows, expected in zip(_TABLE_NAMES, found, _expected(model), strict=True):
            assert rows == expected, f"{name}: only there {rows - expected}, only expected {expected - rows}"
        for rows, read in zip(tables, found, strict=True):
            assert len(rows or []) == len(read), f"a row is there twice: {rows}"
        _check_places(model, *found)
        for message_id, seconds in moments or []:
            entry = model.messages[message_id]
            assert abs(entry.due_at - model.now - float(seconds)) < SLIP_MAX_S + 1, f"{entry} is due in {seconds} s"


_TABLE_NAMES = ("queue", "history", "dead letters", "attempts", "effects", "workers", "cancellations")


def _expected(model: Model) -> list[Rows]:
    entries = model.messages.values()
    return [
        {_text(e.message_id, e.queue_name, e.state, e.priority, e.key, *_counters(e), e.lease_id, e.worker_id)
         for e in entries if e.is_live},
        {_text(e.message_id, e.state, *_counters(e), e.lease_id) for e in entries if e.state in ("done", "discarded")},
        {_text(e.message_id, e.reason, e.key, *_counters(e)) for e in entries if e.state == "dead"},
        {_text(e.message_id, *number, outcome) for e in entries for number, outcome in e.outcomes.items()},
        {_text(e.message_id, e.effect) for e in entries if e.effect is not None},
        {_text(w, str(row.suspected_at is not None).lower()) for w, row in model.workers.items()},
        {_text(e.message_id, e.worker_id) for e in entries if e.state == "running" and e.is_cancelled},
    ]  # fmt: skip


def _counters(entry: Entry) -> tuple[int, int, int, int]:
    return (entry.attempt, entry.retries, entry.lost_workers, entry.generation)


def _text(*values: Any) -> tuple[str | None, ...]:
    return tuple(None if value is None else str(value) for value in values)


def _check_places(
    model: Model, queue: Rows, history: Rows, dead: Rows, _attempts: Rows, effects: Rows, _w: Rows, _cancellations: Rows
) -> None:
    """Check what is promised without asking the model for more than the ids that were sent and committed."""
    places = [row[0] for rows in (queue, history, dead) for row in rows]
    # I1: nothing lost, and nothing in two places.
    assert sorted(map(str, places)) == sorted(model.messages)
    # I2: an effect is there once, and only under the lease that its message ended with.
    ends = {(row[0], row[-1]) for row in history if row[1] == "done"}
    assert len({row[0] for row in effects}) == len(effects)
    assert effects <= ends, f"effects without an end: {effects - ends}"
    # I3: the limits.
    for row in queue:
        assert int(str(row[6])) <= MAX_RETRIES
        assert int(str(row[7])) < MAX_LOST_WORKERS
        # A run is counted once, whatever it ended with; what is queued has no lease, what runs has one.
        assert (row[2] == "running") == (row[9] is not None) == (row[10] is not None)
    for row in dead:
        assert int(str(row[4])) <= MAX_RETRIES
        assert int(str(row[5])) <= MAX_LOST_WORKERS
    keys = [(row[1], row[4]) for row in queue if row[4] is not None]
    assert len(keys) == len(set(keys)), f"two messages hold one dedupe key: {keys}"
    leases = [row[9] for row in queue if row[9] is not None]
    assert len(leases) == len(set(leases)), f"two messages hold one lease: {leases}"


def new_id() -> str:
    return str(uuid.uuid4())


def until(seconds: float | None, now: float) -> float:
    return NEVER if seconds is None else now + seconds
