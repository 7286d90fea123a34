-- Say that this worker lives, lead if nobody does, ring a channel if one is given (its own, to hear whether it hears).
-- All in one, because every worker says it every second or two. Who leads also sweeps out what was asked of messages
-- that ended meanwhile; both looks at cancellations are at a table that is nearly always empty.
-- holds_lock: the worker took its lock, and has not seen it in other hands since. Straight to Postgres the session is
-- the one that took it (session_pid, as the driver knows it); a pooler's may be any, and is looked at.
-- The lead is free when its worker is gone, when its lock is free, or when its heartbeat is late. Two workers that find
-- it free at once wait for each other at the row, and the second one sees the first. A worker that still believes that
-- it leads does no harm: what it marks and takes back is judged by each statement anew.
-- Returns whether this worker's row is still there, whether it leads, which of its messages are asked to stop, and
-- whether its lock proves anything.
WITH beat AS (
    UPDATE callboard.workers SET
        beat_at = now(), suspected_at = NULL, rss_bytes = %(rss_bytes)s,
        holds_lock = %(holds_lock)s AND (pg_backend_pid() = %(session_pid)s OR EXISTS (
            SELECT 1 FROM pg_locks
            WHERE pg_locks.pid = pg_backend_pid() AND pg_locks.locktype = 'advisory' AND pg_locks.granted
                AND pg_locks.objsubid = 2 AND pg_locks.mode = 'ExclusiveLock'
                AND pg_locks.classid::bigint = (hashtext('callboard.worker')::bigint & 4294967295)
                AND pg_locks.objid::bigint = workers.lock_key))
    WHERE worker_id = %(worker_id)s
    RETURNING holds_lock
), swept AS (
    DELETE FROM callboard.cancellations
    WHERE %(leads)s AND NOT EXISTS (
        SELECT 1 FROM dramatiq.queue
        WHERE queue.message_id = ANY (ARRAY[cancellations.message_id]) AND queue.cancel_asked_at IS NOT NULL)
), lead AS (
    UPDATE callboard.duties SET worker_id = %(worker_id)s
    WHERE duty_name = 'lead' AND worker_id IS DISTINCT FROM %(worker_id)s AND EXISTS (SELECT 1 FROM beat)
        AND NOT EXISTS (
            SELECT 1 FROM callboard.workers AS holder
            WHERE holder.worker_id = duties.worker_id
                AND holder.beat_at > now() - %(duty_overdue_s)s * interval '1 second'
                AND NOT (holder.holds_lock
                    AND pg_try_advisory_xact_lock_shared(hashtext('callboard.worker'), holder.lock_key)))
    RETURNING duty_name
)
SELECT
    EXISTS (SELECT 1 FROM beat),
    EXISTS (SELECT 1 FROM lead) OR (EXISTS (SELECT 1 FROM beat) AND EXISTS (
        SELECT 1 FROM callboard.duties WHERE duty_name = 'lead' AND worker_id = %(worker_id)s)),
    (SELECT array_agg(message_id::text) FROM callboard.cancellations WHERE worker_id = %(worker_id)s),
    (SELECT holds_lock FROM beat),
    CASE WHEN %(channel)s IS NOT NULL THEN pg_notify(%(channel)s, '') END
