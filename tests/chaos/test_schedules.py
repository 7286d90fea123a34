"""Periodic messages while the workers that send them are killed: one slot, one message."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.processes import Commands, Process, commands
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import opened

SENT = """
SELECT (message #>> '{options,slot_at}')::timestamptz AS slot FROM (
    SELECT message FROM dramatiq.queue
    UNION ALL SELECT message FROM callboard.message_history
    UNION ALL SELECT message FROM callboard.dead_letters) AS every
WHERE message #>> '{options,schedule}' = 'each-second'
"""
ARE_OVER = """
SELECT last_slot_at >= %s::timestamptz + %s * interval '1 second' FROM callboard.schedules
WHERE last_slot_at IS NOT NULL
"""
COUNT = f"""
SELECT count(*), count(DISTINCT slot) FROM ({SENT}) AS sent WHERE slot < %s::timestamptz + %s * interval '1 second'
"""
LATEST = """
SELECT max(extract(epoch FROM enqueued_at - (message #>> '{options,slot_at}')::timestamptz))::float8
FROM callboard.message_history WHERE actor_name = 'tick'
"""


def start(shell: Commands) -> Process:
    return shell.dramatiq("tests.chaos.periodic_jobs")


def kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def kill_at_random(shell: Commands, db: Callable[..., list[Any]], slots: int, pause_s: float) -> tuple[Any, int]:
    """Let three workers send so many slots, one killed now and then; return the first slot and the kills."""
    workers, kills = [start(shell) for _ in range(3)], 0
    chance = random.Random()  # noqa: S311 - who dies when, not cryptography
    wait_until(lambda: db(SENT), 60, "the first slot")
    ((first,),) = db(f"SELECT min(slot) FROM ({SENT}) AS sent")
    until = time.monotonic() + slots * 2 + 120
    while db(ARE_OVER, first, slots) != [(True,)]:
        assert time.monotonic() < until, "the slots did not come"
        wait_until_passed(chance.uniform(0.5, 1.5) * pause_s)
        number = chance.randrange(3)
        kill(workers[number])
        kills += 1
        workers[number] = start(shell)
    return first, kills


def wait_until_passed(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > until, seconds + 10, "the pause")


def check(tmp_path: Any, url: str, slots: int, pause_s: float) -> str:
    with opened(url) as db, commands(tmp_path / "periodic", DATABASE_URL=url) as shell:
        first, kills = kill_at_random(shell, db, slots, pause_s)
        assert db(COUNT, first, slots) == [(slots, slots)]
        # Whoever was killed, somebody runs what was sent.
        wait_until(
            lambda: db("SELECT count(*) FROM callboard.message_history WHERE actor_name = 'tick'")[0][0] >= slots,
            120,
            "every slot's run",
        )
        ((late_s,),) = db(LATEST)
    return (
        f"periodic messages: {slots} slots, {kills} workers killed, {slots} messages, {late_s:.1f} s late at the most"
    )


def test_workers_killed_at_random_send_one_message_a_slot(tmp_path, database_url, report_line):
    report_line(check(tmp_path, database_url, slots=20, pause_s=4.0))


@pytest.mark.chaos_long
def test_workers_killed_at_random_over_a_hundred_slots_send_a_hundred_messages(
    tmp_path, chaos_database_url, report_line
):
    report_line(check(tmp_path, chaos_database_url, slots=100, pause_s=3.0))
