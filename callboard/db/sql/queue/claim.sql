-- Claim up to limit due messages of the named queues, which stand in order of their turn; within a queue by priority,
-- then oldest first. Concurrent claims never block each other. A worker that was taken for dead, and does not know it
-- yet, claims nothing.
-- Uses queue_ready_idx (queue_name, priority, available_at, seq) WHERE state = 'queued'. Returns the claimed messages.
WITH due AS (
    SELECT ready.message_id
    FROM unnest(%(queue_names)s::text[]) WITH ORDINALITY AS wanted (queue_name, turn)
    CROSS JOIN LATERAL (
        SELECT queue.message_id
        FROM dramatiq.queue
        WHERE queue.queue_name = wanted.queue_name AND queue.state = 'queued' AND queue.available_at <= now()
        ORDER BY queue.priority, queue.available_at, queue.seq
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS ready
    WHERE NOT EXISTS (
        SELECT 1 FROM callboard.queue_controls AS control
        WHERE control.queue_name = wanted.queue_name AND control.is_paused
            AND (control.paused_until IS NULL OR control.paused_until > now()))
        AND EXISTS (SELECT 1 FROM callboard.workers WHERE workers.worker_id = %(worker_id)s)
    LIMIT %(limit)s
)
UPDATE dramatiq.queue SET
    state = 'running',
    attempt = attempt + 1,
    lease_id = nextval('callboard.lease_id_seq'),
    worker_id = %(worker_id)s,
    claimed_at = now(),
    wait_reason = NULL,
    mtime = now()
FROM due
WHERE queue.message_id = due.message_id
RETURNING
    queue.message_id::text, queue.queue_name, queue.message::text, queue.priority, queue.available_at, queue.seq,
    queue.lease_id, queue.attempt, queue.retries, queue.lost_workers, queue.generation, queue.enqueued_at,
    queue.claimed_at
