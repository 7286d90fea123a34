-- Delete announcements of payments that have outlived their time, settled or not: nobody settles one after so long.
-- Uses payment_events_received_idx. Returns how many rows.
WITH expired AS (
    SELECT event_id FROM callboard.payment_events
    WHERE received_at < now() - %(days)s * interval '1 day'
    ORDER BY received_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM callboard.payment_events USING expired
    WHERE payment_events.event_id = expired.event_id
    RETURNING 1
)
SELECT count(*) FROM gone
