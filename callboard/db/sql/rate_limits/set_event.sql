-- Note that an event has happened, for whoever waits for it until it expires.
INSERT INTO callboard.rate_limits (key, value, expires_at)
VALUES (%(key)s, 1, clock_timestamp() + %(ttl_ms)s * interval '1 millisecond')
ON CONFLICT (key) DO UPDATE SET value = 1, expires_at = EXCLUDED.expires_at
