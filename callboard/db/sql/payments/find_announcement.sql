-- Find one announcement (primary key).
SELECT event_id, provider_object_id, event, times_received, processed_at IS NULL AS needs_processing
FROM callboard.payment_events
WHERE event_id = %(event_id)s
