-- Claim one message by its id, if it still waits: what claim does for many. Uses the primary key.
-- Returns it as claim does, or no row.
WITH due AS (
    SELECT queue.ctid AS row_at
    FROM dramatiq.queue
    WHERE queue.message_id = %(message_id)s AND queue.state = 'queued' AND queue.available_at <= now()
    FOR UPDATE SKIP LOCKED
)
UPDATE dramatiq.queue SET
    state = 'running',
    attempt = least(attempt, 999999999) + 1,
    lease_id = nextval('callboard.lease_id_seq'),
    worker_id = %(worker_id)s,
    claimed_at = now(),
    wait_reason = NULL,
    mtime = now()
FROM due
WHERE queue.ctid = due.row_at
RETURNING
    queue.message_id::text, queue.queue_name,
    CASE WHEN pg_column_size(queue.message) <= 8388608 AND octet_length(queue.message::text) <= 1048576
        THEN queue.message::text END,
    queue.priority, queue.available_at, queue.seq, queue.lease_id, queue.attempt, queue.retries, queue.lost_workers,
    queue.generation, queue.enqueued_at, queue.claimed_at
