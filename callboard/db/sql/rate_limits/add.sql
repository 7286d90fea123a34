-- Set a counter unless it is there; one that has expired is not. Uses the primary key. Returns a row if it was set.
INSERT INTO callboard.rate_limits (key, value, expires_at)
VALUES (%(key)s, %(value)s, clock_timestamp() + %(ttl_ms)s * interval '1 millisecond')
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, expires_at = EXCLUDED.expires_at
    WHERE rate_limits.expires_at <= clock_timestamp()
RETURNING value
