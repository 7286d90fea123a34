-- Store many messages without dedupe keys in the order given, and ring the doorbell once for all of them.
-- A message id that is there already changes nothing. Uses the primary key.
-- Returns how many were stored.
WITH outgoing AS (
    SELECT * FROM unnest(
        %(message_ids)s::uuid[], %(queue_names)s::text[], %(messages)s::text[], %(priorities)s::integer[],
        %(delays_ms)s::float8[])
        AS row (message_id, queue_name, message, priority, delay_ms)
), sent AS (
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at)
    SELECT
        message_id, queue_name, 'queued', message::jsonb, priority,
        -- Not now(): with one moment for all of them, the bound of a claim could not pass those that are gone.
        clock_timestamp() + delay_ms * interval '1 millisecond'
    FROM outgoing
    ON CONFLICT DO NOTHING
    RETURNING 1
), rung AS (
    SELECT pg_notify('callboard', '') WHERE %(ring)s
)
SELECT (SELECT count(*) FROM sent), false, (SELECT count(*) FROM rung)
