-- Ask running messages, which the caller has locked, to stop; the heartbeat of their workers reads it. A second time
-- changes nothing.
-- Uses the primary key. Returns the ids.
WITH asked AS (
    UPDATE dramatiq.queue SET cancel_asked_at = coalesce(cancel_asked_at, now())
    WHERE message_id = ANY(%(message_ids)s::uuid[]) AND state = 'running'
    RETURNING message_id, worker_id
), noted AS (
    INSERT INTO callboard.cancellations (message_id, worker_id, requested_by, reason)
    SELECT message_id, worker_id, %(requested_by)s, %(reason)s FROM asked
    ON CONFLICT (message_id) DO UPDATE SET worker_id = EXCLUDED.worker_id
)
SELECT message_id::text FROM asked
