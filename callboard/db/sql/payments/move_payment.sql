-- Move a payment that the transaction holds; what is known already stays. Returns the payment.
UPDATE callboard.payments SET
    status = %(status)s,
    provider_id = coalesce(provider_id, %(provider_id)s),
    confirmation_url = coalesce(confirmation_url, %(confirmation_url)s),
    cancellation_reason = CASE WHEN %(status)s = 'canceled' THEN coalesce(%(cancellation_reason)s, cancellation_reason) END,
    paid_at = CASE WHEN %(status)s = 'succeeded' THEN coalesce(paid_at, %(paid_at)s, now()) END,
    updated_at = now()
WHERE payment_id = %(payment_id)s
RETURNING
    payment_id, status, order_id, amount, currency, description, customer_email, return_url, metadata,
    idempotence_key, first_called_at, provider_id, confirmation_url, cancellation_reason, created_at, paid_at
