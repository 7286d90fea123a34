-- Raise a counter unless it would pass the maximum; a missing or expired one counts from 0.
-- Uses the primary key. Returns a row if it was raised.
INSERT INTO callboard.rate_limits (key, value, expires_at)
SELECT %(key)s, %(amount)s, clock_timestamp() + %(ttl_ms)s * interval '1 millisecond'
WHERE %(amount)s <= %(maximum)s
ON CONFLICT (key) DO UPDATE SET
    value = CASE WHEN rate_limits.expires_at > clock_timestamp() THEN rate_limits.value ELSE 0 END + EXCLUDED.value,
    expires_at = EXCLUDED.expires_at
    WHERE CASE WHEN rate_limits.expires_at > clock_timestamp() THEN rate_limits.value ELSE 0 END + EXCLUDED.value
        <= %(maximum)s
RETURNING value
