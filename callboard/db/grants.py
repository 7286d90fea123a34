"""What each role needs of our schemas, and not more: printed as SQL, and named where Postgres refuses.

A test holds these equal to what Postgres checks for the statements in sql/, so a new statement that needs more says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import psycopg2

from callboard.db.sql import sql

SCHEMAS = "callboard, dramatiq"
ENQUEUED = "message_id, queue_name, state, message, priority, available_at, dedupe_key"
EVERYTHING = "SELECT, INSERT, UPDATE, DELETE"
FUNCTIONS = ("callboard.enqueue", "callboard.store_messages")
#: Sequences, for which GRANT has a word of its own.
_SEQUENCES = re.compile(r"_seq$")

#: Privileges by role and object, as GRANT takes them.
GRANTS: Mapping[str, Mapping[str, str]] = {
    # Whoever sends, with Python, with callboard.enqueue() or with plain dramatiq-pg.
    "producer": {
        "dramatiq.queue": f"INSERT ({ENQUEUED}), SELECT (message_id, queue_name, dedupe_key)",
        "callboard.actors": "SELECT (actor_name, queue_name, priority)",
        # A send that is repeated because its answer was lost looks whether the message has ended.
        "callboard.message_history": "SELECT (message_id)",
        "callboard.dead_letters": "SELECT (message_id)",
    },
    "worker": {
        "callboard.schema_version": "SELECT",
        "dramatiq.queue": EVERYTHING,
        "callboard.actors": "SELECT, INSERT, UPDATE",
        "callboard.attempts": EVERYTHING,
        "callboard.cancellations": "SELECT, DELETE",
        "callboard.dead_letters": EVERYTHING,
        "callboard.duties": "SELECT, INSERT, UPDATE",
        "callboard.emails": EVERYTHING,
        "callboard.idempotency_keys": EVERYTHING,
        "callboard.lease_id_seq": "USAGE",
        "callboard.message_history": "SELECT, INSERT, DELETE",
        "callboard.payment_events": EVERYTHING,
        "callboard.payment_events_event_id_seq": "USAGE",
        "callboard.payments": "SELECT, INSERT, UPDATE",
        "callboard.queue_controls": "SELECT",
        "callboard.rate_limits": EVERYTHING,
        "callboard.reports": EVERYTHING,
        "callboard.results": EVERYTHING,
        "callboard.schedule_declarations": "SELECT, INSERT",
        "callboard.schedules": EVERYTHING,
        "callboard.throughput": EVERYTHING,
        "callboard.throughput_progress": "SELECT, INSERT, UPDATE",
        "callboard.worker_history": EVERYTHING,
        "callboard.workers": EVERYTHING,
        "callboard.workers_lock_key_seq": "USAGE",
    },
    # The HTTP API, and operators with the command line.
    "api": {
        "callboard.schema_version": "SELECT",
        "dramatiq.queue": EVERYTHING,
        "callboard.actors": "SELECT",
        "callboard.attempts": "SELECT, DELETE",
        "callboard.audit_log": "SELECT, INSERT, UPDATE",
        "callboard.audit_log_audit_id_seq": "USAGE",
        "callboard.cancellations": "SELECT, INSERT, UPDATE",
        "callboard.dead_letters": "SELECT, UPDATE, DELETE",
        "callboard.idempotency_keys": "SELECT, INSERT, UPDATE",
        "callboard.message_history": "SELECT, INSERT",
        "callboard.payment_events": "SELECT, INSERT, UPDATE",
        "callboard.payment_events_event_id_seq": "USAGE",
        "callboard.payments": "SELECT, INSERT, UPDATE",
        "callboard.queue_controls": "SELECT, INSERT, UPDATE",
        "callboard.reports": "SELECT",
        "callboard.schedule_declarations": "SELECT",
        "callboard.schedules": "SELECT, UPDATE",
        "callboard.worker_history": "SELECT",
        "callboard.workers": "SELECT",
    },
    # Monitoring: how much waits, runs, failed and how long, and nothing of what a message or a mail holds.
    "read": {
        "callboard.schema_version": "SELECT",
        "callboard.queue_overview": "SELECT",
        "callboard.throughput": "SELECT",
        "dramatiq.queue": (
            "SELECT (message_id, queue_name, actor_name, state, available_at, enqueued_at, claimed_at, worker_id)"
        ),
        "callboard.actors": "SELECT (queue_name)",
        "callboard.dead_letters": "SELECT (message_id, queue_name, enqueued_at, died_at)",
        "callboard.message_history": "SELECT (message_id, outcome, queue_name, enqueued_at, started_at, ended_at)",
        "callboard.queue_controls": "SELECT",
        "callboard.schedule_declarations": "SELECT (schedule_name)",
        "callboard.schedules": (
            "SELECT (schedule_name, actor_name, queue_name, kwargs, dedupe_key, cron, timezone, catch_up, is_paused,"
            " next_at, last_slot_at, last_message_id)"
        ),
        "callboard.workers": (
            "SELECT (worker_id, hostname, pid, queues, threads, version, started_at, beat_at, suspected_at, rss_bytes)"
        ),
    },
}


class Missing(NamedTuple):
    """A privilege that a role lacks; columns is empty where it is the whole object's."""

    privilege: str
    name: str
    columns: str


def grants_for(role: str, name: str) -> Iterator[str]:
    """Yield the statements that give a role of the database what one of ours (GRANTS) needs. name is quoted already."""
    yield f"GRANT USAGE ON SCHEMA {SCHEMAS} TO {name};"
    for thing, privileges in GRANTS[role].items():
        yield f"GRANT {privileges} ON {_kind(thing)}{thing} TO {name};"
    if role != "read":
        yield f"GRANT EXECUTE ON FUNCTION {', '.join(FUNCTIONS)} TO {name};"


#: How a sentence names whoever uses a role.
WHO = {"producer": "A producer", "worker": "A worker", "api": "The API", "read": "Monitoring"}


def privileges_of(role: str) -> Iterator[Missing]:
    """Yield each privilege of a role of ours apart, as Postgres can be asked for it."""
    for thing, privileges in GRANTS[role].items():
        for privilege, columns in re.findall(r"([A-Z]+)(?: \(([^)]*)\))?", privileges):
            yield Missing(privilege, thing, columns)


def missing_grants(cursor: Any, role: str) -> list[Missing]:
    """Return what the connection's role lacks of what a role of ours needs."""
    wanted = list(privileges_of(role))
    parameters = {
        "names": [right.name for right in wanted],
        "privileges": [right.privilege for right in wanted],
        "columns": [right.columns for right in wanted],
    }
    cursor.execute(sql("schema/missing_grants"), parameters)
    return [Missing(*row) for row in cursor.fetchall()]


def advice(role: str, said: str) -> str:
    """Name the table that Postgres named (said), and what a role of ours needs there; Postgres does not say what."""
    words = set(re.findall(r"\w+", said))
    for thing, privileges in GRANTS[role].items():
        if thing.partition(".")[2] in words:
            kind = _kind(thing)
            return f"{WHO[role]} needs {privileges} on {thing}: GRANT {privileges} ON {kind}{thing} TO …"
    if words & {"callboard", "dramatiq"}:
        return f"{WHO[role]} needs USAGE on the schemas {SCHEMAS}: GRANT USAGE ON SCHEMA {SCHEMAS} TO …"
    return f"All that {WHO[role][0].lower()}{WHO[role][1:]} needs prints: callboard db grants --{role} ROLE"


def refusal(role: str, said: str) -> str:
    """Say a missing grant in a sentence, with the table and what is needed there; said is what Postgres said."""
    said = said.strip().splitlines()[0]
    return f"The database's user lacks a grant ({said}). {advice(role, said)}"


def told(role: str, error: Exception) -> str:
    """Return what a log line says of an error of the database's: a missing grant as refusal() says it."""
    text = str(error).strip()
    if isinstance(error, psycopg2.errors.InsufficientPrivilege) and not is_of_a_policy(error):
        return refusal(role, text)
    return text


def is_of_a_policy(error: BaseException) -> bool:
    """Tell a row that row-level security forbids from a missing grant: Postgres has one SQLSTATE for both.

    error is psycopg2's or psycopg 3's. The name of the function that refused is told in every language.
    """
    return getattr(getattr(error, "diag", None), "source_function", None) == "ExecWithCheckOptions"


def lack(cursor: Any, role: str) -> str | None:
    """Say what the connection's role lacks of what a role of ours needs, and what gives it; None: nothing."""
    missing = missing_grants(cursor, role)
    if not missing:
        return None
    named = ", ".join(f"{right.privilege} on {right.name}" for right in missing)
    cursor.execute("SELECT quote_ident(current_user)")
    [(user,)] = cursor.fetchall()
    return (
        f"Role {user} lacks what a {role} needs: {named}. Give it what this prints: callboard db grants --{role} {user}"
    )


def _kind(thing: str) -> str:
    return "SEQUENCE " if _SEQUENCES.search(thing) else ""
