-- Discard up to limit waiting messages of a queue that were there when it was counted, from a place on; they go to the
-- history. Messages that a claim has locked run. The place saves each batch a look at the index entries of those before.
-- Uses queue_ready_idx. Returns how many, and the place of the last one.
WITH doomed AS (
    SELECT ctid AS row_at
    FROM dramatiq.queue
    WHERE queue_name = %(queue_name)s AND state = 'queued' AND seq <= %(newest_seq)s
        AND (priority, available_at, seq) > (%(priority)s, %(available_at)s::timestamptz, %(seq)s)
    ORDER BY priority, available_at, seq
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), discarded AS (
    DELETE FROM dramatiq.queue USING doomed WHERE queue.ctid = doomed.row_at RETURNING queue.*
), kept AS (
    INSERT INTO callboard.message_history (
        message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        dedupe_key, enqueued_at, available_at)
    SELECT
        message_id, 'discarded', queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        dedupe_key, enqueued_at, available_at
    FROM discarded
)
SELECT count(*) OVER (), priority, available_at, seq
FROM discarded
ORDER BY priority DESC, available_at DESC, seq DESC
LIMIT 1
