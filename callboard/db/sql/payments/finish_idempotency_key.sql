-- Store a key's answer; the first one stays.
UPDATE callboard.idempotency_keys SET response_status = %(status)s, response = %(response)s, locked_until = NULL
WHERE key = %(key)s AND response_status IS NULL
