-- Say that this worker lives, try to lead, and ring a channel if one is given: its own, to hear whether it hears.
-- Returns whether its row is still there, and whether it leads.
WITH beat AS (
    UPDATE callboard.workers SET beat_at = now(), suspected_at = NULL WHERE worker_id = %(worker_id)s RETURNING 1
)
SELECT
    EXISTS (SELECT 1 FROM beat),
    %(leads)s OR pg_try_advisory_lock(hashtext('callboard.leader'), 0),
    CASE WHEN %(channel)s IS NOT NULL THEN pg_notify(%(channel)s, '') END
