-- Find one payment by our id (primary key).
SELECT
    payment_id, status, order_id, amount, currency, description, customer_email, return_url, metadata,
    idempotence_key, first_called_at, provider_id, confirmation_url, cancellation_reason, created_at, paid_at
FROM callboard.payments
WHERE payment_id = %(payment_id)s
