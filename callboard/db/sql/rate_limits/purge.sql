-- Delete counters that have expired, up to limit. Reads the whole table, which holds only the counters in use.
-- Returns how many were deleted.
WITH expired AS (
    SELECT key FROM callboard.rate_limits WHERE expires_at <= now() LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), purged AS (
    DELETE FROM callboard.rate_limits USING expired WHERE rate_limits.key = expired.key RETURNING 1
)
SELECT count(*) FROM purged
