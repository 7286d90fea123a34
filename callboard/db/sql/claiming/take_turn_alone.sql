-- Become the one worker of all that runs messages which lost two workers, unless a living one is it already; free as
-- the lead is (beat.sql). Returns a row if it is this worker's turn.
UPDATE callboard.duties SET worker_id = %(worker_id)s
WHERE duty_name = 'alone' AND (worker_id = %(worker_id)s OR NOT EXISTS (
    SELECT 1 FROM callboard.workers AS holder
    WHERE holder.worker_id = duties.worker_id
        AND holder.beat_at > now() - %(duty_overdue_s)s * interval '1 second'
        AND NOT (holder.holds_lock
            AND pg_try_advisory_xact_lock_shared(hashtext('callboard.worker'), holder.lock_key))))
RETURNING duty_name
