-- Hand back what this worker claimed but never received: the connection broke before the claim's answer came. What an
-- operator cancelled meanwhile goes to the history.
-- Uses queue_running_idx. A claim of a broken connection may still commit, hence the age, and that the caller repeats.
-- What was claimed at no time, or in the future, was written by hand, and is nobody's.
WITH unknown AS MATERIALIZED (
    SELECT message_id, cancel_asked_at IS NOT NULL AS is_cancelled
    FROM dramatiq.queue
    WHERE worker_id = %(worker_id)s AND state = 'running'
        AND (claimed_at BETWEEN now() - interval '10 seconds' AND now() + interval '1 minute') IS NOT TRUE
        AND lease_id <> ALL (%(lease_ids)s::bigint[])
    FOR UPDATE
), cancelled AS (
    DELETE FROM dramatiq.queue USING unknown
    WHERE queue.message_id = ANY (ARRAY[unknown.message_id]) AND unknown.is_cancelled
    RETURNING queue.*
), discarded AS (
    INSERT INTO callboard.message_history (
        message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        worker_id, dedupe_key, enqueued_at, available_at)
    SELECT
        message_id, 'discarded', queue_name, actor_name, message, priority, greatest(attempt, 1) - 1, retries, lost_workers,
        generation, worker_id, dedupe_key, enqueued_at, available_at
    FROM cancelled
), settled AS (
    DELETE FROM callboard.cancellations USING cancelled WHERE cancellations.message_id = cancelled.message_id
)
UPDATE dramatiq.queue SET
    state = 'queued', attempt = greatest(attempt, 1) - 1, lease_id = NULL, worker_id = NULL, claimed_at = NULL, mtime = now()
FROM unknown
WHERE queue.message_id = ANY (ARRAY[unknown.message_id]) AND NOT unknown.is_cancelled
RETURNING queue.message_id::text, pg_notify('callboard', 'all')
