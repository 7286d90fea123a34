-- Note what processing an announcement did, the latest time it was processed.
UPDATE callboard.payment_events SET processed_at = now(), outcome = %(outcome)s
WHERE event_id = %(event_id)s
