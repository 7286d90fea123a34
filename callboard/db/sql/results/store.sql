-- Keep results under their keys until they expire; a later result of a key replaces the one before.
-- The rows come sorted by key, so that two writers of the same keys wait for each other in one order.
INSERT INTO callboard.results (key, message_id, value, expires_at)
SELECT key, message_id, value, now() + ttl_ms * interval '1 millisecond'
FROM unnest(%(keys)s::text[], %(message_ids)s::uuid[], %(values)s::bytea[], %(ttls_ms)s::float8[])
    AS result (key, message_id, value, ttl_ms)
ON CONFLICT (key) DO UPDATE SET
    message_id = EXCLUDED.message_id, value = EXCLUDED.value, stored_at = now(), expires_at = EXCLUDED.expires_at
