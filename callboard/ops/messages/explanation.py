"""Why is this message not running? Looked through in the order in which things stop a message; the first one counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from callboard.db import sql
from callboard.ops.messages.story import (
    MessageChange,
    MessageRecord,
    MessageRun,
    changes_of,
    find_message,
    holder_of,
    runs_of,
)
from callboard.ops.queues.figures import Pause, pause_of
from callboard.ops.queues.pace import QueuePace, queue_pace
from callboard.ops.wording import command, elapsed_s, many, moment, span, work_command
from callboard.plain_text import plain
from callboard.terms import BEAT_OVERDUE_S

#: A message that lost so many workers runs alone, as it may be what killed them.
ALONE_AFTER_LOST = 2
#: Time from a worker's death, or the end of its patience, until its messages are queued again, s.
RESCUE_S = 5
#: With a free thread a message starts at once; one that waits for longer was not heard of, s.
START_OVERDUE_S = 10

RetryLimit = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a message is not running: a fixed word, one sentence, and what to do."""

    code: str
    sentence: str
    advice: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a waiting message waits for: its queue's pause, who serves it and how busy they are, who knows its actor."""

    pause: Pause | None
    workers: int
    threads: int
    running: int
    longest_since: datetime | None
    is_actor_known: bool


def explain(cursor: Any, message_id: str, *, retry_limit: RetryLimit | None = None) -> Explanation:
    """Say why a message is not running, and what to do.

    retry_limit(queue_name) is the limit of retries where neither message nor actor has one of its own, for the sentence
    about a retry.
    """
    record = find_message(cursor, message_id)
    if record is None:
        return _unknown(cursor, message_id)
    if record.state == "running":
        return _running(cursor, record)
    if record.state not in ("queued", "delayed"):
        return _ended(cursor, record)
    around = _surroundings(cursor, record)
    return (
        _paused(record, around)
        or _not_due(cursor, record, retry_limit)
        or _unserved(record, around)
        or _unknown_actor(record, around)
        or _alone(record)
        or _in_line(cursor, record, around)
    )


def _unknown(cursor: Any, message_id: str) -> Explanation:
    cursor.execute(sql("messages/kept"), {"message_id": message_id})
    if cursor.fetchone()[0]:
        return Explanation(
            "forgotten",
            f"Message {message_id} has ended, and its history is gone; only failed attempts are left of it.",
            f"See them with: callboard messages show {message_id}",
        )
    return Explanation(
        "unknown",
        f"No message has the id {message_id}: it was never stored, or its history is gone.",
        "If it was sent with send_in(), look whether that transaction was committed. Compare the id with what send() "
        "returned. Find messages with: callboard messages list",
    )


def _ended(cursor: Any, record: MessageRecord) -> Explanation:
    id_, ended = record.message_id, moment(record.ended_at) if record.ended_at else "an unknown moment"
    if record.state == "dead":
        text = f": {record.error_class}: {_first_line(record.error_message)}".removesuffix(".")
        error = text if record.error_class else ""
        return Explanation(
            "dead",
            f"It failed for good at {ended} after attempt {record.attempt} ({record.reason}){error}.",
            f"Correct the cause, then: callboard dead retry {id_}",
        )
    if record.state == "discarded":
        by = next((change for change in reversed(changes_of(cursor, record)) if _discards(change)), None)
        who = f" by {by.operator} ({by.action})" if by else ""
        return Explanation(
            "discarded",
            f"It was discarded before it ran, at {ended}{who}.",
            "Nothing runs it any more; if it is needed after all, send it again.",
        )
    run = next((run for run in reversed(runs_of(cursor, id_)) if run.outcome == "done"), None)
    where = f" on {run.worker}" if run is not None and run.worker else ""
    return Explanation(
        "done",
        f"It is done: attempt {record.attempt} ended well at {ended}{where}.",
        f"Nothing waits for it. See its runs with: callboard messages show {id_}",
    )


def _discards(change: MessageChange) -> bool:
    return change.action.split()[-1] in ("discard", "cancel")


def _running(cursor: Any, record: MessageRecord) -> Explanation:
    holder = holder_of(cursor, record)
    since = record.started_at or record.enqueued_at
    text = f"It is running, attempt {record.attempt}, since {moment(since)} ({span(elapsed_s(since))})"
    if holder.hostname is None:
        return Explanation(
            "lost",
            f"{text}, on a worker that is gone; it is taken back within {RESCUE_S} s of the next look.",
            "Wait a moment. If it stays so, no worker process is left to take it back: callboard workers",
        )
    where = f"{holder.hostname}:{holder.pid}"
    if holder.is_suspect or (holder.silent_s or 0) > BEAT_OVERDUE_S / 2:
        left_s = max(BEAT_OVERDUE_S - (holder.silent_s or 0), 0) + RESCUE_S
        return Explanation(
            "silent",
            f"{text}, on {where}, which has been silent for {span(holder.silent_s or 0)}; unless it is heard "
            f"again, the message is taken back in about {span(left_s)} and runs elsewhere.",
            "Wait for that, and look at the machine: callboard workers",
        )
    if holder.stop_requested_at is not None:
        return Explanation(
            "stopping",
            f"{text}, on {where}; {holder.stop_requested_by} asked it to stop at {moment(holder.stop_requested_at)}.",
            "It stops at its next step in Python. One that hangs in C code or in a call to the network ends with its "
            "time limit.",
        )
    return Explanation(
        "running",
        f"{text}, on {where}.",
        f"Let it finish, or ask it to stop: callboard messages cancel {record.message_id}",
    )


def _surroundings(cursor: Any, record: MessageRecord) -> Surroundings:
    cursor.execute(
        sql("messages/surroundings"),
        {"queue_name": record.queue_name, "actor_name": record.actor_name, "beat_overdue_s": BEAT_OVERDUE_S},
    )
    row = cursor.fetchone()
    return Surroundings(pause_of(row[:4]), *row[4:])


def _paused(record: MessageRecord, around: Surroundings) -> Explanation | None:
    if around.pause is None:
        return None
    return Explanation(
        "paused",
        plain(f"Its queue {record.queue_name} is {around.pause.text}."),
        "When it may go on: " + command("queues", "resume", record.queue_name),
    )


def _not_due(cursor: Any, record: MessageRecord, retry_limit: RetryLimit | None) -> Explanation | None:
    if record.state != "delayed" or record.available_at is None:
        return None
    when = f"until {moment(record.available_at)}, for another {span(max(-elapsed_s(record.available_at), 0))}"
    if record.reason:
        return Explanation(
            "postponed",
            f"It is postponed {when}: {record.reason}.",
            "It runs then by itself, and no retry is counted. Correct what the reason names.",
        )
    last = next((run for run in reversed(runs_of(cursor, record.message_id)) if run.outcome == "retry"), None)
    if record.retries and last is not None and last.generation == record.generation:
        return Explanation(
            "retry",
            f"It waits {when}, for retry {record.retries}{_limit(record, retry_limit)}, after attempt {last.attempt} "
            f"failed with {_error_of(last)}.",
            f"It runs then by itself. See its attempts with: callboard messages show {record.message_id}",
        )
    return Explanation(
        "delayed",
        f"It is not due yet: it waits {when}.",
        "It runs then by itself. If it should not: callboard messages cancel " + record.message_id,
    )


def _limit(record: MessageRecord, retry_limit: RetryLimit | None) -> str:
    options = record.message.get("options") if isinstance(record.message, dict) else None
    own = options.get("max_retries") if isinstance(options, dict) else None
    if isinstance(own, int):
        return f" of {own}"
    # An actor's own limit is known to its workers only.
    return "" if retry_limit is None else f" of {retry_limit(record.queue_name)}"


def _error_of(run: MessageRun) -> str:
    return f"{run.error_class or 'no error'}: {_first_line(run.error_message)}".removesuffix(": ").removesuffix(".")


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0][:200]


def _unserved(record: MessageRecord, around: Surroundings) -> Explanation | None:
    if around.workers:
        return None
    return Explanation(
        "unserved",
        f"No worker process serves its queue {plain(record.queue_name)}.",
        f"Start one: {work_command([record.queue_name])}. If some run, their --queues leave this one out, or no module "
        "that they import has an actor of it: callboard workers",
    )


def _unknown_actor(record: MessageRecord, around: Surroundings) -> Explanation | None:
    if around.is_actor_known:
        return None
    return Explanation(
        "unknown_actor",
        f"No worker knows its actor {record.actor_name!r}; the one that takes it makes it a dead letter.",
        "Start workers that import the module with the actor: callboard work their_actors",
    )


def _alone(record: MessageRecord) -> Explanation | None:
    if record.lost_workers < ALONE_AFTER_LOST:
        return None
    return Explanation(
        "alone",
        f"It lost {record.lost_workers} workers, so it waits until a process has nothing else to run, and runs there "
        "alone.",
        "Wait; that takes up to half a minute after the last long job. If it loses that worker too it is a dead letter "
        f"(lost_worker). To see what it did: callboard messages show {record.message_id}",
    )


def _in_line(cursor: Any, record: MessageRecord, around: Surroundings) -> Explanation:
    place = {name: getattr(record, name) for name in ("queue_name", "priority", "available_at", "seq")}
    cursor.execute(sql("messages/ahead"), place)
    ahead: int = cursor.fetchone()[0]
    serving = f"{many(around.threads, 'thread')} in {many(around.workers, 'worker process')} serve it"
    busy = "all busy" if around.running >= around.threads else f"{around.running:,} of them busy"
    longest = f", the longest for {span(elapsed_s(around.longest_since))}" if around.longest_since else ""
    if ahead:
        pace = queue_pace(cursor).get(record.queue_name)
        return Explanation(
            "in_line",
            f"It is number {ahead + 1:,} of the ready messages of queue {record.queue_name}: {ahead:,} come before it "
            f"by priority and age. {_turn(ahead, pace)}",
            f"{serving}, {busy}{longest}. More of them help, unless the other side is the limit: callboard queues list",
        )
    if around.running >= around.threads:
        return Explanation(
            "busy",
            f"It is the next of queue {record.queue_name}; {serving}, {busy}{longest}.",
            "It starts when one comes free. See what they do: callboard workers",
        )
    waited_s = elapsed_s(record.available_at or record.enqueued_at)
    if waited_s < START_OVERDUE_S:
        return Explanation("starting", "It is ready and a thread is free: it starts about now.", "Look again.")
    return Explanation(
        "unheard",
        f"It has been ready for {span(waited_s)}, it is the next of its queue, and a thread is free: the workers have "
        "not taken it.",
        "They look at the latest after WORKER_INTERVAL_MS. If it stays so, their log says why they do not claim; "
        "see their heartbeats with: callboard workers",
    )


def _turn(ahead: int, pace: QueuePace | None) -> str:
    if pace is None or pace.left == 0:
        return "None has ended in the last minutes, so when its turn comes cannot be said."
    return f"At {pace.out_per_min:,.0f} a minute its turn comes in about {span(ahead / pace.left * pace.window_s)}."
