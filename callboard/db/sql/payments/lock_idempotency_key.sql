-- Find what a caller's key stands for and hold it until the transaction ends.
-- wait_s is positive while the request that holds the key may still be answered.
SELECT
    request_sha256, payment_id, coalesce(extract(epoch FROM locked_until - now()), 0)::float8 AS wait_s, response_status,
    response
FROM callboard.idempotency_keys
WHERE key = %(key)s
FOR UPDATE
