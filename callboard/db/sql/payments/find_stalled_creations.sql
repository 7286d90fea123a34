-- Find payments that were stored and that nobody creates any more: their process died before it had an answer.
-- Uses payments_open_idx. Repeats end after 20 h; a creation that ended as a dead letter (dead_letters_queue_idx) is
-- for whoever reads that. Returns their ids, oldest first; a message that is still under way is told by its dedupe_key.
SELECT payment_id::text
FROM callboard.payments
WHERE
    status NOT IN ('succeeded', 'canceled')
    AND status = 'created'
    AND provider_id IS NULL
    AND created_at > now() - interval '20 hours'
    AND created_at < now() - make_interval(secs => %(lock_s)s)
    AND NOT EXISTS (
        SELECT FROM callboard.dead_letters
        WHERE
            dead_letters.queue_name = 'payments'
            AND dead_letters.died_at >= payments.created_at
            AND dead_letters.dedupe_key = 'create-' || payments.payment_id
    )
ORDER BY created_at
LIMIT 1000
