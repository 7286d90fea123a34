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
    queue.priority, queue.available_at, queue.seq, queue.lease_id, queue.attempt, queue.retries, queue.lost_workers,
    queue.generation, queue.enqueued_at, queue.claimed_at
