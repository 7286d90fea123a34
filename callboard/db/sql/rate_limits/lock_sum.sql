-- Wait until no other transaction sums the counters of this limiter; the lock ends with the transaction.
-- A statement of its own: the sum must see what the one before committed.
SELECT pg_advisory_xact_lock(hashtext('callboard.rate_limits'), hashtext(%(name)s))
