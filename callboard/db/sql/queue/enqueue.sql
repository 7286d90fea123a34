-- Store one message and ring the doorbell with it, in one round trip.
-- A message id or dedupe key that is there already changes nothing; a repeated send (is_repeat) also looks whether
-- the message has ended meanwhile.
-- Uses the primary key, and queue_dedupe_idx (queue_name, dedupe_key) WHERE dedupe_key IS NOT NULL.
-- Returns the id that holds the message's place: its own, or the first one of its dedupe key; none where somebody else
-- took the place or left it while the statement ran.
WITH ended AS (
    SELECT message_id FROM callboard.message_history WHERE message_id = %(message_id)s AND %(is_repeat)s
    UNION ALL
    SELECT message_id FROM callboard.dead_letters WHERE message_id = %(message_id)s AND %(is_repeat)s
), sent AS (
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at, dedupe_key)
    SELECT
        %(message_id)s, %(queue_name)s, 'queued', %(message)s::jsonb, %(priority)s,
        now() + %(delay_ms)s * interval '1 millisecond', %(dedupe_key)s
    WHERE NOT EXISTS (SELECT 1 FROM ended)
    ON CONFLICT DO NOTHING
    RETURNING message_id
), rung AS (
    SELECT pg_notify('callboard', '') FROM sent WHERE %(ring)s
)
SELECT
    coalesce(
        (SELECT message_id FROM sent),
        (SELECT message_id FROM ended LIMIT 1),
        (SELECT message_id FROM dramatiq.queue WHERE queue_name = %(queue_name)s AND dedupe_key = %(dedupe_key)s),
        (SELECT message_id FROM dramatiq.queue WHERE message_id = %(message_id)s)
    )::text,
    (SELECT count(*) FROM rung)
