-- Store one message and ring the doorbell with it, in one round trip.
-- A message id or dedupe key that is there already changes nothing; a repeated send (is_repeat) also looks whether
-- the message has ended meanwhile. Returns the stored message's id, or the id that holds the dedupe key, or no id.
WITH sent AS (
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at, dedupe_key)
    SELECT
        %(message_id)s, %(queue_name)s, 'queued', %(message)s::jsonb, %(priority)s,
        now() + %(delay_ms)s * interval '1 millisecond', %(dedupe_key)s
    WHERE NOT %(is_repeat)s OR NOT EXISTS (
        SELECT 1 FROM callboard.message_history WHERE message_id = %(message_id)s
        UNION ALL SELECT 1 FROM callboard.dead_letters WHERE message_id = %(message_id)s)
    ON CONFLICT DO NOTHING
    RETURNING message_id
), rung AS (
    SELECT pg_notify('callboard', '') FROM sent WHERE %(ring)s
)
SELECT
    coalesce(
        (SELECT message_id FROM sent),
        (SELECT message_id FROM dramatiq.queue WHERE queue_name = %(queue_name)s AND dedupe_key = %(dedupe_key)s)
    )::text,
    (SELECT count(*) FROM rung)
