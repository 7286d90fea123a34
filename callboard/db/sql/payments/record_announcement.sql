-- Store an announcement, or count that it came again.
-- A repeat is worth processing while its payment is not final here: the first may have come before the truth,
-- or may have been forged. An id that the sequence gives a second time, as after a restore, is passed over: what YooKassa
-- says must not wait for somebody to put a sequence right. Returns the row.
WITH drawn AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('callboard.payment_events', 'event_id')) AS number
)
INSERT INTO callboard.payment_events (event_id, provider_object_id, event, received_from)
OVERRIDING SYSTEM VALUE
SELECT
    CASE WHEN EXISTS (SELECT 1 FROM callboard.payment_events WHERE event_id = drawn.number)
        THEN (SELECT max(event_id) FROM callboard.payment_events) + drawn.number ELSE drawn.number END,
    %(provider_object_id)s, %(event)s, %(received_from)s
FROM drawn
ON CONFLICT (provider_object_id, event) DO UPDATE SET
    times_received = least(payment_events.times_received, 999999999) + 1
RETURNING
    event_id, provider_object_id, event, times_received,
    processed_at IS NULL OR NOT EXISTS (
        SELECT FROM callboard.payments
        WHERE payments.provider_id = payment_events.provider_object_id AND payments.status IN ('succeeded', 'canceled')
    ) AS needs_processing
