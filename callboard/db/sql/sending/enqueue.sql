-- Store one message that has a dedupe key or was sent before, and ring the doorbell with it, in one round trip.
-- A message id or dedupe key that is there already changes nothing; a repeated send (is_repeat) also looks whether
-- the message has ended meanwhile.
-- Uses the primary key, and queue_dedupe_idx (queue_name, dedupe_key) WHERE dedupe_key IS NOT NULL.
-- Returns the id that holds the message's place: its own, or the first one of its dedupe key; none where somebody else
-- took the place or left it while the statement ran. And whether an open transaction holds the key, after a wait.
WITH ended AS (
    SELECT message_id FROM callboard.message_history WHERE message_id = %(message_id)s AND %(is_repeat)s
    UNION ALL
    SELECT message_id FROM callboard.dead_letters WHERE message_id = %(message_id)s AND %(is_repeat)s
), sent AS MATERIALIZED (
    SELECT stored.message_id
    FROM (SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM ended)) AS wanted
    CROSS JOIN LATERAL callboard.store_messages(
        ARRAY[%(message_id)s]::uuid[], ARRAY[%(queue_name)s]::text[], ARRAY[%(message)s]::text[],
        ARRAY[%(priority)s]::integer[], ARRAY[%(delay_ms)s]::float8[], ARRAY[%(dedupe_key)s]::text[],
        %(is_repeat)s)
        AS stored (message_id)
), rung AS (
    SELECT pg_notify('callboard', '') FROM sent WHERE %(ring)s AND message_id IS NOT NULL
)
SELECT
    coalesce(
        (SELECT message_id FROM sent),
        (SELECT message_id FROM ended LIMIT 1),
        (SELECT message_id FROM dramatiq.queue WHERE queue_name = %(queue_name)s AND dedupe_key = %(dedupe_key)s),
        (SELECT message_id FROM dramatiq.queue WHERE message_id = %(message_id)s)
    )::text,
    EXISTS (SELECT 1 FROM sent WHERE message_id IS NULL),
    (SELECT count(*) FROM rung)
