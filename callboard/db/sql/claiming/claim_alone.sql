-- Claim the one message, among those that lost two workers, whose turn it is: it may be what killed them.
-- Uses queue_suspect_idx (queue_name, available_at) WHERE state = 'queued' AND lost_workers >= 2. Returns it, or no row.
WITH due AS (
    SELECT queue.ctid AS row_at
    FROM dramatiq.queue
    WHERE queue.queue_name = ANY(%(queue_names)s::text[]) AND queue.state = 'queued' AND queue.lost_workers >= 2
        AND queue.available_at <= now()
        AND NOT EXISTS (
            SELECT 1 FROM callboard.queue_controls AS control
            WHERE control.queue_name = queue.queue_name AND control.is_paused
                AND (control.paused_until IS NULL OR control.paused_until > now()))
        AND EXISTS (SELECT 1 FROM callboard.workers WHERE workers.worker_id = %(worker_id)s)
    ORDER BY queue.priority, queue.available_at, queue.seq
    LIMIT 1
    FOR UPDATE OF queue SKIP LOCKED
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
    -- Whether it is too large is asked before text is made of it, as nothing interrupts that: kilobytes of numbers such
    -- as 1e131071 become a gigabyte.
    CASE
        WHEN pg_column_size(queue.message) > 8388608 OR pg_column_size(queue.message || '[]') > 8388608 THEN NULL
        WHEN (
            SELECT sum(scale(number::numeric) + CASE
                WHEN abs(number::numeric) < 1e30 THEN 0
                WHEN abs(number::numeric) < 1e300 THEN 30
                WHEN abs(number::numeric) < 1e4300 THEN 300
                ELSE 4300 END)
            -- Not jsonb_path_query(): the time that takes grows with the square of what it finds.
            FROM jsonb_array_elements(
                jsonb_path_query_array(queue.message, 'strict $.** ? (@.type() == "number")')) AS number) > 1048576
            THEN NULL
        WHEN octet_length(queue.message::text) <= 1048576 THEN queue.message::text
    END,
    queue.priority, queue.available_at, queue.seq, queue.lease_id, queue.attempt, queue.retries, queue.lost_workers, queue.generation, queue.enqueued_at,
    queue.claimed_at
