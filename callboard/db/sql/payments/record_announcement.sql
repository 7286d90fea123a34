-- Store an announcement, or count that it came again.
-- A repeat is worth processing while its payment is not final here: the first may have come before the truth,
-- or may have been forged. Returns the row.
INSERT INTO callboard.payment_events (provider_object_id, event, received_from)
VALUES (%(provider_object_id)s, %(event)s, %(received_from)s)
ON CONFLICT (provider_object_id, event) DO UPDATE SET times_received = payment_events.times_received + 1
RETURNING
    event_id, provider_object_id, event, times_received,
    processed_at IS NULL OR NOT EXISTS (
        SELECT FROM callboard.payments
        WHERE payments.provider_id = payment_events.provider_object_id AND payments.status IN ('succeeded', 'canceled')
    ) AS needs_processing
