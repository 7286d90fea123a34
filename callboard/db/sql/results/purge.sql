-- Delete results that have expired, up to limit, oldest first. Uses results_expires_idx (expires_at).
-- Returns how many were deleted.
WITH expired AS (
    SELECT key FROM callboard.results
    WHERE expires_at <= now()
    ORDER BY expires_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), purged AS (
    DELETE FROM callboard.results USING expired WHERE results.key = expired.key RETURNING 1
)
SELECT count(*) FROM purged
