-- How many payments should have been announced by now and when the last webhook was accepted.
-- A customer has an hour to pay, after which YooKassa announces that as well; after a week nobody waits any more.
-- Uses payments_open_idx and the primary key of payment_events. Returns count, and seconds (null: none ever came).
SELECT
    (
        SELECT count(*)
        FROM callboard.payments
        WHERE
            status NOT IN ('succeeded', 'canceled')
            AND provider_id IS NOT NULL
            AND created_at < now() - make_interval(secs => %(due_s)s)
            AND created_at > now() - interval '7 days'
    ) AS overdue,
    (
        SELECT extract(epoch FROM now() - received_at)::float8
        FROM callboard.payment_events
        ORDER BY event_id DESC
        LIMIT 1
    ) AS silent_s
