-- Say that this worker lives, try to lead, ring a channel if one is given (its own, to hear whether it hears), and, if
-- asked to, end the leader's session when its heartbeat is overdue: a frozen or cut-off leader would keep the lead for
-- hours. The leader's connection also holds its liveness lock, which tells whose it is. All in one, because every
-- worker says it every second or two. Who leads also sweeps out what was asked of messages that ended meanwhile; both
-- looks at cancellations are at a table that is nearly always empty.
-- Returns whether this worker's row is still there, whether it leads, and which of its messages are asked to stop.
WITH beat AS (
    UPDATE callboard.workers SET beat_at = now(), suspected_at = NULL, rss_bytes = %(rss_bytes)s
    WHERE worker_id = %(worker_id)s
    RETURNING 1
), swept AS (
    DELETE FROM callboard.cancellations
    WHERE %(leads)s AND NOT EXISTS (
        SELECT 1 FROM dramatiq.queue
        WHERE queue.message_id = ANY (ARRAY[cancellations.message_id]) AND queue.cancel_asked_at IS NOT NULL)
), deposed AS (
    SELECT pg_terminate_backend(leader.pid)
    FROM pg_locks AS leader
    WHERE %(deposes)s
        AND leader.locktype = 'advisory' AND leader.granted AND leader.objsubid = 2 AND leader.pid <> pg_backend_pid()
        AND leader.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND leader.classid::bigint = (hashtext('callboard.leader')::bigint & 4294967295) AND leader.objid = 0
        AND NOT EXISTS (
            SELECT 1 FROM pg_locks AS own
            JOIN callboard.workers ON workers.lock_key = own.objid::bigint
            WHERE own.pid = leader.pid AND own.locktype = 'advisory' AND own.granted AND own.objsubid = 2
                AND own.classid::bigint = (hashtext('callboard.worker')::bigint & 4294967295)
                AND workers.beat_at > now() - %(beat_overdue_s)s * interval '1 second')
)
SELECT
    EXISTS (SELECT 1 FROM beat),
    %(leads)s OR pg_try_advisory_lock(hashtext('callboard.leader'), 0),
    (SELECT array_agg(message_id::text) FROM callboard.cancellations WHERE worker_id = %(worker_id)s),
    CASE WHEN %(channel)s IS NOT NULL THEN pg_notify(%(channel)s, '') END,
    (SELECT count(*) FROM deposed)
