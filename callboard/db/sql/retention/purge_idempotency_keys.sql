-- Delete keys of the API whose answer has outlived its time, but one that is being answered at this moment.
-- Uses idempotency_keys_created_idx. Returns how many rows.
WITH expired AS (
    SELECT key FROM callboard.idempotency_keys
    WHERE created_at < now() - %(days)s * interval '1 day' AND (locked_until IS NULL OR locked_until < now())
    ORDER BY created_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM callboard.idempotency_keys USING expired
    WHERE idempotency_keys.key = expired.key
    RETURNING 1
)
SELECT count(*) FROM gone
