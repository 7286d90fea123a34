"""Rows in every state, as the broker would have left them."""

from __future__ import annotations

import json
import uuid
from typing import Any

_QUEUED = """
INSERT INTO dramatiq.queue (
    message_id, queue_name, state, message, priority, available_at, enqueued_at, attempt, retries, lost_workers,
    generation, lease_id, worker_id, claimed_at, dedupe_key, wait_reason)
VALUES (
    %(id)s, %(queue)s, %(state)s, %(message)s, %(priority)s, now() + make_interval(secs => %(due_s)s),
    now() - make_interval(secs => %(age_s)s), %(attempt)s, %(retries)s, %(lost_workers)s, %(generation)s,
    CASE WHEN %(state)s = 'running' THEN nextval('callboard.lease_id_seq') END, %(worker)s,
    CASE WHEN %(state)s = 'running' THEN now() - make_interval(secs => %(run_s)s) END, %(key)s, %(reason)s)
"""
_HISTORY = """
INSERT INTO callboard.message_history (
    message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    worker_id, enqueued_at, available_at, started_at, ended_at)
VALUES (
    %(id)s, %(outcome)s, %(queue)s, %(actor)s, %(message)s, 0, %(attempt)s, 0, 0, %(generation)s, %(worker)s,
    now() - make_interval(secs => %(age_s)s), now() - make_interval(secs => %(age_s)s),
    CASE WHEN %(outcome)s = 'done' THEN now() - make_interval(secs => %(ended_s)s + %(run_s)s) END,
    now() - make_interval(secs => %(ended_s)s))
"""
_DEAD = """
INSERT INTO callboard.dead_letters (
    message_id, reason, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    error_class, error_message, enqueued_at, died_at)
VALUES (
    %(id)s, %(reason)s, %(queue)s, %(actor)s, %(message)s, 0, %(attempt)s, 0, 0, %(generation)s, 'MailboxRefused',
    '550 no such mailbox', now() - make_interval(secs => %(age_s)s), now() - make_interval(secs => %(ended_s)s))
"""
_ATTEMPT = """
INSERT INTO callboard.attempts (
    message_id, generation, attempt, outcome, worker_id, started_at, ended_at, error_class, error_message, traceback,
    reason)
VALUES (
    %(id)s, %(generation)s, %(attempt)s, %(outcome)s, %(worker)s,
    now() - make_interval(secs => %(ended_s)s + %(run_s)s), now() - make_interval(secs => %(ended_s)s),
    %(error)s, %(text)s, %(traceback)s, %(reason)s)
"""


class Scene:
    """Writes rows; each message gets an id, which is returned."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def worker(self, *queues: str, threads: int = 2, silent_s: float = 0, pid: int = 17, past: bool = False) -> str:
        """Register a worker process; a past one has left and is on record only."""
        worker_id = str(uuid.uuid4())
        table = "worker_history" if past else "workers"
        self._cursor.execute(
            f"INSERT INTO callboard.{table} (worker_id, hostname, pid, queues, threads, version) "
            "VALUES (%s, 'node-1', %s, %s, %s, '1.2')",
            (worker_id, pid, list(queues), threads),
        )
        if not past:
            statement = "UPDATE callboard.workers SET beat_at = now() - make_interval(secs => %s) WHERE worker_id = %s"
            self._cursor.execute(statement, (silent_s, worker_id))
        return worker_id

    def actor(self, name: str = "send_email", queue: str = "emails") -> None:
        self._cursor.execute("INSERT INTO callboard.actors (actor_name, queue_name) VALUES (%s, %s)", (name, queue))

    def queued(self, queue: str = "emails", **given: Any) -> str:
        """Store a message; due_s is negative where it has been ready for a while."""
        own = {"state": "queued", "priority": 0, "due_s": -given.get("age_s", 5), "age_s": 5, "retries": 0}
        own |= {"lost_workers": 0, "worker": None, "run_s": 3, "key": None, "reason": None}
        return self._store(_QUEUED, queue, {**own, "attempt": 0, **given})

    def running(self, worker: str, queue: str = "emails", **given: Any) -> str:
        return self.queued(queue, state="running", worker=worker, **{"attempt": 1, **given})

    def done(self, queue: str = "emails", **given: Any) -> str:
        own = {"outcome": "done", "attempt": 1, "worker": None, "age_s": 60, "ended_s": 10, "run_s": 2}
        return self._store(_HISTORY, queue, {**own, **given})

    def discarded(self, queue: str = "emails", **given: Any) -> str:
        return self.done(queue, outcome="discarded", **given)

    def dead(self, queue: str = "emails", **given: Any) -> str:
        return self._store(_DEAD, queue, {"reason": "permanent", "attempt": 1, "age_s": 60, "ended_s": 10, **given})

    def attempt(self, message_id: str, number: int = 1, outcome: str = "retry", **given: Any) -> None:
        own = {"id": message_id, "attempt": number, "outcome": outcome, "generation": 0, "worker": None, "ended_s": 20}
        own |= {"run_s": 1.5, "error": "MailServerDown", "text": "refused\nmore", "traceback": None, "reason": None}
        self._cursor.execute(_ATTEMPT, {**own, **given})

    def _store(self, statement: str, queue: str, given: dict[str, Any]) -> str:
        actor, kwargs = given.pop("actor", "send_email"), given.pop("kwargs", {"to": "a@example.org"})
        message = {"actor_name": actor, "queue_name": queue, "kwargs": kwargs, "args": given.pop("args", [])}
        message["options"] = given.pop("options", {})
        id_ = given.pop("id", None) or str(uuid.uuid4())
        parameters = {"id": id_, "queue": queue, "actor": actor, "message": json.dumps(message), "generation": 0}
        self._cursor.execute(statement, {**parameters, **given})
        return str(id_)
