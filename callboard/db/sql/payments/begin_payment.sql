-- Store a payment under the caller's key, both or neither; a key that exists already stores nothing.
-- first_called_at is set before the call, so that a death in between only shortens the time for repeats.
-- Returns the payment, or no row when the key is taken.
WITH taken AS (
    INSERT INTO callboard.idempotency_keys (key, request_sha256, payment_id, locked_until)
    VALUES (%(key)s, %(request_sha256)s, %(payment_id)s, now() + make_interval(secs => %(lock_s)s))
    ON CONFLICT (key) DO NOTHING
    RETURNING key
)
INSERT INTO callboard.payments (
    payment_id, order_id, amount, currency, description, customer_email, return_url, metadata, idempotence_key,
    first_called_at)
SELECT
    %(payment_id)s, %(order_id)s, %(amount)s, %(currency)s, %(description)s, %(customer_email)s, %(return_url)s,
    %(metadata)s, %(idempotence_key)s, now()
FROM taken
RETURNING
    payment_id, status, order_id, amount, currency, description, customer_email, return_url, metadata,
    idempotence_key, first_called_at, provider_id, confirmation_url, cancellation_reason, created_at, paid_at
