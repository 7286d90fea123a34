-- Count messages of a group that are done, in the transaction that ends them; 0 means that all are.
-- A barrier that has expired but is still there counts: a late group is better than one that never completes.
-- Uses the primary key. Returns whether these were the last ones; no row: the barrier is gone, or was complete before.
UPDATE callboard.rate_limits SET
    value = greatest(value - %(parties)s, 0),
    expires_at = greatest(expires_at, clock_timestamp() + %(ttl_ms)s * interval '1 millisecond')
WHERE key = %(key)s AND value >= 1
RETURNING value = 0
