-- Let a key go without an answer.
UPDATE callboard.idempotency_keys SET locked_until = NULL
WHERE key = %(key)s AND response_status IS NULL
