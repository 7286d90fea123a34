-- Move queued messages, which the caller has locked, to the history as discarded. Uses the primary key.
-- Returns the ids.
WITH cancelled AS (
    DELETE FROM dramatiq.queue WHERE message_id = ANY(%(message_ids)s::uuid[]) AND state = 'queued' RETURNING queue.*
)
INSERT INTO callboard.message_history (
    message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    dedupe_key, enqueued_at, available_at)
SELECT
    message_id, 'discarded', queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    dedupe_key, enqueued_at, available_at
FROM cancelled
RETURNING message_id::text
