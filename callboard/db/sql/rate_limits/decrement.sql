-- Lower a counter unless it would fall below the minimum. Uses the primary key. Returns a row if it was lowered.
UPDATE callboard.rate_limits SET
    value = value - %(amount)s, expires_at = clock_timestamp() + %(ttl_ms)s * interval '1 millisecond'
WHERE key = %(key)s AND expires_at > clock_timestamp() AND value - %(amount)s >= %(minimum)s
RETURNING value
