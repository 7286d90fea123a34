-- Raise a counter unless the sum over keys, or the counter itself, would pass the maximum; expired ones count 0.
-- Right only behind lock_sum. Uses the primary key. Returns a row if it was raised.
INSERT INTO callboard.rate_limits (key, value, expires_at)
SELECT %(key)s, %(amount)s, clock_timestamp() + %(ttl_ms)s * interval '1 millisecond'
WHERE %(amount)s + (
    SELECT coalesce(sum(value), 0) FROM callboard.rate_limits
    WHERE key = ANY (%(keys)s::text[]) AND expires_at > clock_timestamp()) <= %(maximum)s
ON CONFLICT (key) DO UPDATE SET
    value = CASE WHEN rate_limits.expires_at > clock_timestamp() THEN rate_limits.value ELSE 0 END + EXCLUDED.value,
    expires_at = EXCLUDED.expires_at
    WHERE CASE WHEN rate_limits.expires_at > clock_timestamp() THEN rate_limits.value ELSE 0 END + EXCLUDED.value
        <= %(maximum)s
RETURNING value
