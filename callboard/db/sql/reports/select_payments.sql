-- Read the payments created in [from_at, to_at), oldest first, at most limit of them.
-- Uses payments_created_idx (created_at). Returns what the register shows.
SELECT order_id, customer_email, status, amount, currency, paid_at
FROM callboard.payments
WHERE created_at >= %(from_at)s AND created_at < %(to_at)s
ORDER BY created_at, payment_id
LIMIT %(limit)s
