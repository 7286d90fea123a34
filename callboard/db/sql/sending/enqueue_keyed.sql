-- Store many messages of which some have dedupe keys or were sent before, in the order given, and ring the doorbell once
-- for all of them.
-- A message id or dedupe key that is there already changes nothing; a repeated send (is_repeat) also leaves out what
-- has ended meanwhile. Uses the primary key and queue_dedupe_idx.
-- Returns how many were stored, and whether none was, as an open transaction holds one of the keys after a wait.
WITH sent AS MATERIALIZED (
    SELECT stored.message_id
    FROM callboard.store_messages(
        %(message_ids)s::uuid[], %(queue_names)s::text[], %(messages)s::text[], %(priorities)s::integer[],
        %(delays_ms)s::float8[], %(dedupe_keys)s::text[], %(is_repeat)s) AS stored (message_id)
), rung AS (
    SELECT pg_notify('callboard', '') WHERE %(ring)s
)
SELECT
    (SELECT count(message_id) FROM sent), EXISTS (SELECT 1 FROM sent WHERE message_id IS NULL),
    (SELECT count(*) FROM rung)
