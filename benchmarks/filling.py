"""A large database for benchmarks.figures: backlog, history and dead letters of a service that is busy now."""

from __future__ import annotations

from typing import Any, NamedTuple


class Sizes(NamedTuple):
    """How many messages there are of each kind."""

    queued: int
    history: int
    dead: int


#: As many messages run as there are threads.
THREADS = 8
PROCESSES = 4

_NUMBERED = """
    SELECT
        number, gen_random_uuid() AS id, (ARRAY['emails', 'emails', 'reports', 'payments'])[1 + number %% 4] AS queue,
        (ARRAY['send_email', 'send_email', 'generate_report', 'process_payment_event'])[1 + number %% 4] AS actor
    FROM generate_series(1, %(count)s) AS number
"""
_MESSAGE = """jsonb_build_object(
    'queue_name', queue, 'actor_name', actor, 'args', '[]'::jsonb, 'options', '{}'::jsonb, 'message_id', id,
    'kwargs', jsonb_build_object('to', 'customer-' || number || '@example.org', 'template', 'receipt', 'context',
        jsonb_build_object('order_id', 'A-' || number, 'lines', repeat('x', 100))))"""
_WORKERS = """
INSERT INTO callboard.workers (worker_id, hostname, pid, queues, threads, version, beat_at)
SELECT gen_random_uuid(), 'node-' || number, 1000 + number, '{emails,payments,reports}', %(threads)s, '1',
    -- They beat for as long as the measurement takes.
    now() + interval '1 day'
FROM generate_series(1, %(processes)s) AS number;
INSERT INTO callboard.actors (actor_name, queue_name) VALUES
    ('send_email', 'emails'), ('generate_report', 'reports'), ('process_payment_event', 'payments')
"""
#: A message every 10 ms until now, every tenth delayed, three quarters of one priority.
_QUEUED = f"""
INSERT INTO dramatiq.queue (message_id, queue_name, message, priority, available_at, enqueued_at, dedupe_key)
SELECT
    id, queue, {_MESSAGE}, (ARRAY[0, 0, 0, 5])[1 + number %% 4],
    CASE WHEN number %% 10 = 0 THEN now() + (1 + number %% 1000) * interval '1 minute'
        ELSE now() - (%(count)s - number) * interval '10 ms' END,
    now() - (%(count)s - number) * interval '10 ms', CASE WHEN number %% 20 = 0 THEN 'key-' || number END
FROM ({_NUMBERED}) AS numbered
"""  # noqa: S608 - our own text
_HISTORY = f"""
INSERT INTO callboard.message_history (
    message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    lease_id, worker_id, enqueued_at, available_at, started_at, ended_at)
SELECT
    id, CASE WHEN number %% 500 = 0 THEN 'discarded' ELSE 'done' END, queue, actor, {_MESSAGE}, 0, 1, 0, 0, 0, number,
    (SELECT worker_id FROM callboard.workers LIMIT 1), ended_at - interval '5 s', ended_at - interval '5 s',
    ended_at - interval '200 ms', ended_at
FROM (
    SELECT numbered.*, now() - (%(count)s - number) * interval '10 ms' AS ended_at FROM ({_NUMBERED}) AS numbered
) AS ended
"""  # noqa: S608 - our own text
_DEAD = f"""
INSERT INTO callboard.dead_letters (
    message_id, reason, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    error_class, error_message, traceback, enqueued_at, first_failed_at, died_at)
SELECT
    id, (ARRAY['max_retries', 'permanent'])[1 + number %% 2], queue, actor, {_MESSAGE}, 0, 6, 5, 0, 0,
    'MailServerDown', 'The mail server cannot be reached.', repeat('  File "actors/emails.py", line 1' || chr(10), 40),
    died_at - interval '10 min', died_at - interval '9 min', died_at
FROM (
    SELECT numbered.*, now() - (%(count)s - number) * interval '5 s' AS died_at FROM ({_NUMBERED}) AS numbered
) AS died
"""  # noqa: S608 - our own text
_ATTEMPTS = """
INSERT INTO callboard.attempts (
    message_id, generation, attempt, outcome, worker_id, started_at, ended_at, error_class, error_message, traceback)
SELECT
    message_id, 0, number, CASE number WHEN 6 THEN 'dead' ELSE 'retry' END,
    (SELECT worker_id FROM callboard.workers LIMIT 1), first_failed_at, died_at, error_class, error_message, traceback
FROM callboard.dead_letters, generate_series(4, 6) AS number
"""
_RUNNING = """
UPDATE dramatiq.queue SET
    state = 'running', attempt = 1, lease_id = nextval('callboard.lease_id_seq'), claimed_at = now(),
    worker_id = (SELECT worker_id FROM callboard.workers ORDER BY pid OFFSET chosen.number %% %(processes)s LIMIT 1)
FROM (
    SELECT ctid AS row_at, row_number() OVER () AS number
    FROM dramatiq.queue
    WHERE priority = 0 AND available_at <= now()
    LIMIT %(threads)s * %(processes)s
) AS chosen
WHERE queue.ctid = chosen.row_at
"""


def fill(cursor: Any, sizes: Sizes, *, is_vacuumed: bool = True) -> None:
    """Write the rows; is_vacuumed: as autovacuum leaves them."""
    if not is_vacuumed:
        for table in ("dramatiq.queue", "callboard.message_history", "callboard.dead_letters"):
            cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    workers = {"threads": THREADS, "processes": PROCESSES}
    cursor.execute(_WORKERS, workers)
    for statement, count in ((_QUEUED, sizes.queued), (_HISTORY, sizes.history), (_DEAD, sizes.dead)):
        cursor.execute(statement, {"count": count})
    cursor.execute(_ATTEMPTS)
    cursor.execute(_RUNNING, workers)
    cursor.execute("VACUUM ANALYZE" if is_vacuumed else "ANALYZE")
