-- Find one announcement and hold it: a webhook that repeats it waits until the transaction ends.
SELECT event_id, provider_object_id, event, times_received, processed_at IS NULL AS needs_processing
FROM callboard.payment_events
WHERE event_id = %(event_id)s
FOR UPDATE
