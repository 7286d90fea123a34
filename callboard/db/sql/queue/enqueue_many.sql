-- Store many messages in the order given, and ring the doorbell once for all of them.
-- A message id or dedupe key that is there already changes nothing; a repeated send (is_repeat) also leaves out what
-- has ended meanwhile. Uses the primary key and queue_dedupe_idx.
-- Returns how many were stored.
WITH outgoing AS (
    SELECT * FROM unnest(
        %(message_ids)s::uuid[], %(queue_names)s::text[], %(messages)s::text[], %(priorities)s::integer[],
        %(delays_ms)s::float8[], %(dedupe_keys)s::text[])
        AS row (message_id, queue_name, message, priority, delay_ms, dedupe_key)
), sent AS (
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at, dedupe_key)
    SELECT
        message_id, queue_name, 'queued', message::jsonb, priority,
        -- Not now(): with one moment for all of them, the bound of a claim could not pass those that are gone.
        clock_timestamp() + delay_ms * interval '1 millisecond', dedupe_key
    FROM outgoing
    WHERE NOT %(is_repeat)s OR NOT EXISTS (
        SELECT 1 FROM callboard.message_history WHERE message_history.message_id = outgoing.message_id
        UNION ALL SELECT 1 FROM callboard.dead_letters WHERE dead_letters.message_id = outgoing.message_id)
    ON CONFLICT DO NOTHING
    RETURNING 1
), rung AS (
    SELECT pg_notify('callboard', '') WHERE %(ring)s
)
SELECT (SELECT count(*) FROM sent), (SELECT count(*) FROM rung)
