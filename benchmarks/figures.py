"""How long the operator's looks take on a large database: python -m benchmarks.figures.

It fills a database on the embedded Postgres, or on the one whose programs are in --bin-dir, and measures every function
of the operator's layer on an open connection, and every command as a process of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.filling import Sizes, fill
from callboard.db import connect, schema
from callboard.dev.postgres import bundled_bin_dir
from callboard.dev.temporary_postgres import temporary_server
from callboard.ops import workers
from callboard.ops.audit import Operator
from callboard.ops.health import status as condition
from callboard.ops.messages import explanation as explanations
from callboard.ops.messages import listing as messages
from callboard.ops.messages import story as message_stories
from callboard.ops.messages.listing import MessageFilter, State
from callboard.ops.queues import controls as queue_controls
from callboard.ops.queues import figures as overview
from callboard.ops.queues import listing as queues
from callboard.ops.queues import pace

Call = Callable[[Any], Any]
ROUNDS = 5
#: A verb that takes longer is marked, s; those that look through arguments may.
LIMIT_S = 1.0
BENCH = Operator("bench@localhost", "cli")


def main() -> int:
    """Fill, measure and print. Exit codes: 0 every verb within its limit, 1 one was not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=__doc__)
    parser.add_argument("--queued", type=int, default=1_000_000)
    parser.add_argument("--history", type=int, default=1_000_000)
    parser.add_argument("--dead", type=int, default=100_000)
    parser.add_argument("--bin-dir", type=Path, default=bundled_bin_dir(), help="programs of another Postgres")
    parser.add_argument("--unvacuumed", action="store_true", help="as the table is before autovacuum has seen it")
    arguments = parser.parse_args()
    sizes = Sizes(arguments.queued, arguments.history, arguments.dead)
    with temporary_server(arguments.bin_dir) as server:
        url = server.recreate_database("figures")
        schema.upgrade(url)
        with closing(connect(url, autocommit=True)) as connection, connection.cursor() as cursor:
            fill(cursor, sizes, is_vacuumed=not arguments.unvacuumed)
            cursor.execute("SHOW server_version")
            print(
                f"Postgres {cursor.fetchone()[0]}; {sizes.queued:,} queued, {sizes.history:,} done, {sizes.dead:,} dead"
            )
            print(f"{'verb':<52} | seconds (median of {ROUNDS})")
            is_within = _measure_functions(cursor)
            return 0 if _measure_commands(cursor, url) and is_within else 1


def _measure_functions(cursor: Any) -> bool:
    results = [_report(name, _median(partial(call, cursor))) for name, call in _functions(cursor)]
    return all(results)


def _measure_commands(cursor: Any, url: str) -> bool:
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url, "LOG_LEVEL": "error"}
    results = []
    for command in _commands(cursor):
        arguments = [sys.executable, "-m", "callboard.cli", *command]

        def run(arguments: list[str] = arguments) -> None:
            done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
            if done.returncode not in (0, 4):
                raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr}")

        results.append(_report(f"callboard {' '.join(command)}", _median(run), is_filter="--where" in command))
    return all(results)


def _median(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        call()
        times.append(time.monotonic() - began)
    return statistics.median(times)


def _report(name: str, seconds: float, *, is_filter: bool = False) -> bool:
    is_within = seconds < LIMIT_S or is_filter or "where" in name
    print(f"{name:<52} | {seconds:.3f}{'' if is_within else '  over the limit'}", flush=True)
    return is_within


def _functions(cursor: Any) -> Iterator[tuple[str, Call]]:
    yield "queue_figures", overview.queue_figures
    yield "serving", overview.serving
    yield "queue_pace", pace.queue_pace
    yield "list_queues", queues.list_queues
    yield "known_queues", queues.known_queues
    yield "queue_size", queues.queue_size
    yield "list_workers", workers.list_workers
    yield "database_figures", condition.database_figures
    yield "plan_discard", partial(queue_controls.plan_discard, queue_name="emails")
    yield "pause_queues", partial(queue_controls.pause_queues, queue_names=["emails"], operator=BENCH)

    def resume(cursor: Any) -> None:
        queue_controls.pause_queues(cursor, ["emails"], BENCH)
        queue_controls.resume_queues(cursor, ["emails"], BENCH)

    yield "pause_queues and resume_queues", resume
    since = datetime.now(UTC) - timedelta(days=1)
    filters = {
        "": MessageFilter(),
        "queue": MessageFilter(queue_name="reports"),
        "actor": MessageFilter(actor_name="generate_report"),
        "since": MessageFilter(since=since),
        "where, found nowhere": MessageFilter(path='$.to == "nobody"'),
        **{str(state): MessageFilter(states=(state,)) for state in State},
    }
    for name, wanted in filters.items():
        yield f"list_messages {name}", partial(messages.list_messages, wanted=wanted)
    waiting = MessageFilter(states=(State.QUEUED, State.DELAYED, State.RUNNING))
    yield "list_messages oldest", partial(messages.list_messages, wanted=waiting, is_oldest=True)
    for state, id_ in _ids(cursor).items():
        yield f"tell_story {state}", partial(message_stories.tell_story, message_id=id_)
        yield f"explain {state}", partial(explanations.explain, message_id=id_)
    yield "find_by_key", partial(message_stories.find_by_key, queue_name="emails", dedupe_key="key-1000")


def _commands(cursor: Any) -> list[list[str]]:
    ids = _ids(cursor)
    return [
        ["--version"],
        ["status"],
        ["stats"],
        ["size"],
        ["workers"],
        ["queues", "list"],
        ["queues", "discard", "emails", "--dry-run"],
        ["messages", "list"],
        ["messages", "list", "--state", "dead"],
        ["messages", "list", "--oldest"],
        ["messages", "list", "--where", '$.to == "customer-77@example.org"'],
        ["messages", "show", ids["dead"]],
        ["messages", "explain", ids["queued"]],
    ]


def _ids(cursor: Any) -> dict[str, str]:
    """Return a message of each state; of those that are ready, one with many before it."""
    found = {}
    for state in State:
        lines = messages.list_messages(cursor, MessageFilter(states=(state,)), limit=1)
        found[str(state)] = lines[0].message_id
    return found


if __name__ == "__main__":
    sys.exit(main())
