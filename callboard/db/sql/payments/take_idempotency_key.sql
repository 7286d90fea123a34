-- Give a key whose request ended without an answer to the request that repeats it.
UPDATE callboard.idempotency_keys SET locked_until = now() + make_interval(secs => %(lock_s)s)
WHERE key = %(key)s
