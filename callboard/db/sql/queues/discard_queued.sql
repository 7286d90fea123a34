-- Drop a queue's waiting messages, kept in the history as discarded; running ones finish.
WITH discarded AS (
    DELETE FROM dramatiq.queue WHERE queue_name = %(queue_name)s AND state = 'queued' RETURNING queue.*
)
INSERT INTO callboard.message_history (
    message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    dedupe_key, enqueued_at, available_at)
SELECT
    message_id, 'discarded', queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    dedupe_key, enqueued_at, available_at
FROM discarded
