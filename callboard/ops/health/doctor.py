"""The doctor's look at the database: reachable, durable, cleaned up, in time, heard, and served."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from callboard.db import CALL_TIMEOUT_S, connect, deadline, schema, sql
from callboard.db.connections.session import SETTINGS
from callboard.db.grants import GRANTS, missing_grants, privileges_of
from callboard.ops.health.connections import read_budget
from callboard.ops.health.findings import Finding, State, examine
from callboard.ops.health.sequences import examine_sequences
from callboard.ops.wording import in_a_row, work_command
from callboard.terms import BEAT_OVERDUE_S

#: A transaction that is open for longer keeps vacuum from the queue, s.
TRANSACTION_MAX_S = 60.0
#: Clocks further apart than this make the moments of logs and messages hard to compare, s.
SKEW_MAX_S = 2.0
#: Dead rows beyond this many, and this many for each live one, mean that vacuum does not keep up.
DEAD_ROWS_MAX = 50_000
DEAD_PER_LIVE_MAX = 10
NOTIFICATION_USAGE_MAX = 0.5
#: Time a notification may take, s.
HEARING_TIMEOUT_S = 2.0


#: A role that lacks a smaller share of what a worker or the API needs is meant to be one.
NEAR_SHARE = 0.5


class _Facts(NamedTuple):
    """A row of sql/health/facts.sql."""

    server_version: str
    clock: datetime
    keeps_data: bool
    synchronous_commit: str
    autovacuum: bool
    is_replica: bool
    is_read_only: bool
    dead_rows: int | None
    live_rows: int | None
    oldest_transaction_s: float | None
    notification_queue_usage: float


def examine_database(url: str, *, pool_size: int, listens: bool, is_embedded: bool = False) -> list[Finding]:
    """Return what there is to say about the database.

    pool_size and listens are those of the service's processes; is_embedded: it is the one that `callboard dev` runs.
    """
    return examine("database", lambda: _look(url, pool_size=pool_size, listens=listens, is_embedded=is_embedded))


def _look(url: str, *, pool_size: int, listens: bool, is_embedded: bool) -> Iterator[Finding]:
    connection = connect(url, application_name="callboard doctor", autocommit=True)
    try:
        with deadline(connection, CALL_TIMEOUT_S + HEARING_TIMEOUT_S), connection.cursor() as cursor:
            began_at, began_clock = datetime.now(UTC), time.monotonic()
            cursor.execute(sql("health/facts"))
            facts = _Facts(*cursor.fetchone())
            took_s = time.monotonic() - began_clock
            yield Finding("database", State.OK, f"PostgreSQL {facts.server_version} answers in {took_s * 1000:.0f} ms.")
            yield _durability(facts, is_embedded=is_embedded)
            yield _transactions(facts)
            yield _clock(facts, began_at, took_s)
            yield from _session(cursor)
            yield from examine("doorbell", partial(_doorbell, url, cursor, facts, listens=listens))
            found = examine("schema", lambda: _schema(connection))
            yield from found
            if any(finding.state is State.FAILED for finding in found):
                return  # The rest looks into its tables.
            yield _autovacuum(facts)
            if connection.keeps_session:
                yield from examine("connections", lambda: _connections(cursor, pool_size))
            else:
                text = "They are the pooler's, which lends as many as its pool_size says."
                yield Finding("connections", State.SKIPPED, text)
            yield from examine("grants", lambda: _grants(cursor))
            yield from examine("workers", lambda: _workers(cursor))
            yield from examine("sequences", lambda: examine_sequences(cursor))
    finally:
        connection.close()


def _schema(connection: Any) -> Iterator[Finding]:
    schema.check_revision(connection)
    yield Finding("schema", State.OK, f"Revision {schema.current_revision(connection)}.")


def _durability(facts: _Facts, *, is_embedded: bool) -> Finding:
    if is_embedded:
        return Finding("durability", State.SKIPPED, "The embedded Postgres is for development; a crash may damage it.")
    if facts.is_replica:
        advice = "Let DATABASE_URL name the primary."
        return Finding("durability", State.FAILED, "This is a replica, which takes no messages.", advice)
    if facts.is_read_only:
        text = "It takes no messages: default_transaction_read_only is on for this database or role."
        advice = "Providers set it while the disk is full: free some. Else RESET it by ALTER DATABASE or ALTER ROLE."
        return Finding("durability", State.FAILED, text, advice)
    if not facts.keeps_data:
        advice = "Turn fsync and full_page_writes on in postgresql.conf."
        return Finding("durability", State.FAILED, "A crash of the server may lose or damage everything.", advice)
    if facts.synchronous_commit == "off":
        advice = "Set synchronous_commit to on for this database or role."
        return Finding(
            "durability", State.FAILED, "A crash may lose messages that were accepted up to 0.6 s before.", advice
        )
    return Finding("durability", State.OK, f"Commits are durable (synchronous_commit {facts.synchronous_commit}).")


def _autovacuum(facts: _Facts) -> Finding:
    dead, live = facts.dead_rows or 0, facts.live_rows or 0
    if not facts.autovacuum:
        advice = "Set autovacuum to on in postgresql.conf."
        return Finding("autovacuum", State.FAILED, "It is off: the queue's table grows with each message.", advice)
    if dead > DEAD_ROWS_MAX and dead > DEAD_PER_LIVE_MAX * live:
        advice = "Look for a transaction that stays open; then: VACUUM dramatiq.queue;"
        return Finding("autovacuum", State.WARNING, f"The queue holds {dead} dead rows beside {live} live.", advice)
    return Finding("autovacuum", State.OK, f"It is on; the queue holds {dead} dead rows beside {live} live.")


def _transactions(facts: _Facts) -> Finding:
    open_s = facts.oldest_transaction_s
    if open_s is not None and open_s > TRANSACTION_MAX_S:
        advice = (
            "Find it: SELECT pid, xact_start, state, left(query, 60) FROM pg_stat_activity ORDER BY xact_start LIMIT 5;"
        )
        return Finding(
            "transactions",
            State.WARNING,
            f"One has been open for {open_s:.0f} s, and keeps vacuum from what was deleted since.",
            advice,
        )
    return Finding("transactions", State.OK, "None is open for long.")


def _clock(facts: _Facts, began_at: datetime, took_s: float) -> Finding:
    # The server's clock was read somewhere within the call; the middle of it is the best guess.
    skew_s = (facts.clock - began_at).total_seconds() - took_s / 2
    text = f"This machine's is {abs(skew_s):.1f} s {'behind' if skew_s > 0 else 'ahead of'} the database's."
    if abs(skew_s) > SKEW_MAX_S + took_s / 2:
        advice = "Let both follow a time server. Messages keep the database's time; log lines show this machine's."
        return Finding("clock", State.WARNING, text, advice)
    return Finding("clock", State.OK, text)


def _connections(cursor: Any, pool_size: int) -> Iterator[Finding]:
    budget = read_budget(cursor, pool_size=pool_size)
    if budget.warning:
        yield Finding("connections", State.WARNING, budget.warning)
    else:
        yield Finding("connections", State.OK, f"{budget.needed} needed at most, {budget.available} available.")


def _session(cursor: Any) -> Iterator[Finding]:
    """Say whose the sessions are, and what of the settings that our statements rely on is not in force."""
    cursor.execute(sql("health/session_settings"), {"names": list(SETTINGS)})
    session_pid, isolation, found = cursor.fetchone()
    found["default_transaction_isolation"] = isolation
    differing = [
        f"{name} is {found[name]!r}, not {value!r}"
        for name, value in SETTINGS.items()
        if not _means(found[name], value)
    ]
    is_shared = not cursor.connection.keeps_session or session_pid != cursor.connection.info.backend_pid
    if differing:
        yield Finding(
            "session",
            State.WARNING,
            f"In our statements {'; '.join(differing)}.",
            "Remove it from the options of DATABASE_URL unless it is meant; else this is a fault of the pooler.",
        )
    elif is_shared:
        text = "It is a pooler's: settings travel with each transaction, and a dead worker shows by its heartbeat only."
        yield Finding("session", State.OK, text)
    else:
        yield Finding("session", State.OK, "It is ours alone, with our settings.")


def _means(found: str, value: str) -> bool:
    """Tell whether Postgres shows a value as it was set; it may write it in other words."""
    return found.lower().startswith(value.lower()) or (found, value) == ("1min", "60s")


def _doorbell(url: str, cursor: Any, facts: _Facts, *, listens: bool) -> Iterator[Finding]:
    """Ring a channel of our own over another session, and listen for it."""
    if not listens:
        yield Finding("doorbell", State.SKIPPED, "QUEUE_LISTEN is off: workers poll.")
        return
    if facts.notification_queue_usage > NOTIFICATION_USAGE_MAX:
        yield Finding(
            "doorbell",
            State.WARNING,
            f"The server's queue of notifications is {facts.notification_queue_usage:.0%} full.",
            "A session that listens stays in a transaction; find and end it.",
        )
    channel = f"callboard_doctor_{uuid.uuid4().hex}"
    listener = connect(url, application_name="callboard doctor", autocommit=True)
    try:
        with deadline(listener, CALL_TIMEOUT_S + HEARING_TIMEOUT_S), listener.cursor() as listening:
            listening.execute(f"LISTEN {channel}")
            began_clock = time.monotonic()
            cursor.execute(f"NOTIFY {channel}")
            while not listener.notifies and time.monotonic() - began_clock < HEARING_TIMEOUT_S:
                listening.execute("SELECT 1")
                time.sleep(0.01)
    finally:
        listener.close()
    if listener.notifies:
        yield Finding("doorbell", State.OK, "Notifications are delivered.")
    else:
        yield Finding(
            "doorbell",
            State.FAILED,
            f"A notification was not delivered within {HEARING_TIMEOUT_S:g} s.",
            "Behind PgBouncer in transaction mode set QUEUE_LISTEN=off; else connect to Postgres directly.",
        )


def _grants(cursor: Any) -> Iterator[Finding]:
    """Say what the role may do; where that is not a whole role's, what it lacks for the one that it is nearest to."""
    lacking = {role: missing_grants(cursor, role) for role in GRANTS}
    complete = [role for role, missing in lacking.items() if not missing]
    share = {role: len(missing) / len(list(privileges_of(role))) for role, missing in lacking.items()}
    nearest = min(("worker", "api"), key=lambda role: share[role])
    if share[nearest] and (share[nearest] < NEAR_SHARE or not complete):
        # A worker that lacks one grant is not told that it may send.
        named = ", ".join(f"{right.privilege} on {right.name}" for right in lacking[nearest])
        advice = f"Let the owner of the schemas run what this prints: callboard db grants --{nearest} ROLE"
        text = f"The database's user lacks what a role of kind {nearest} needs: {named}."
        yield Finding("grants", State.FAILED, text, advice)
        return
    yield Finding("grants", State.OK, f"The database's user may do what these need: {', '.join(complete)}.")
    for other in {"worker", "api"} - set(complete):
        if complete != ["producer"] and share[other] < NEAR_SHARE:
            named = ", ".join(f"{right.privilege} on {right.name}" for right in lacking[other])
            yield Finding("grants", State.SKIPPED, f"For {other} it would need more: {named}.")


def _workers(cursor: Any) -> Iterator[Finding]:
    cursor.execute(sql("health/unserved_queues"), {"beat_overdue_s": BEAT_OVERDUE_S})
    unserved = dict(cursor.fetchall())
    cursor.execute(sql("health/connection_figures"), {"beat_overdue_s": BEAT_OVERDUE_S})
    *_, alive = cursor.fetchone()
    if not alive:
        yield Finding("workers", State.WARNING, "No worker process runs.", "Start some: callboard work")
    elif unserved:
        names = in_a_row(f"{queue} ({waiting} waiting)" for queue, waiting in unserved.items())
        advice = f"Start workers for them: {work_command(unserved)}. Those that run may leave them out by --queues."
        yield Finding("workers", State.WARNING, f"{alive} run, and none of them serves: {names}.", advice)
    else:
        yield Finding("workers", State.OK, f"{alive} worker processes serve every queue.")
