-- Mark workers that look dead, and unmark those that look alive again. A worker looks dead when its heartbeat is overdue
-- or, where its lock proves anything, nobody holds that. For 10 s after a restart of the database, which frees every
-- lock, only heartbeats count.
-- A heartbeat or a suspicion from the future was written by hand, or before the clock was set back: it is none.
-- Returns how many look dead.
WITH looked AS (
    SELECT
        workers.worker_id,
        workers.beat_at < now() - %(beat_overdue_s)s * interval '1 second'
            OR workers.beat_at > now() + interval '1 minute'
            OR (workers.holds_lock AND pg_postmaster_start_time() < now() - interval '10 seconds' AND NOT EXISTS (
                SELECT 1 FROM pg_locks
                WHERE pg_locks.locktype = 'advisory' AND pg_locks.granted AND pg_locks.objsubid = 2
                    -- Others look at a lock by taking it for a moment, shared.
                    AND pg_locks.mode = 'ExclusiveLock'
                    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND pg_locks.classid::bigint = (hashtext('callboard.worker')::bigint & 4294967295)
                    AND pg_locks.objid::bigint = workers.lock_key)) AS looks_dead
    FROM callboard.workers
), changed AS (
    UPDATE callboard.workers SET suspected_at = CASE WHEN looked.looks_dead THEN now() END
    FROM looked
    WHERE looked.worker_id = workers.worker_id AND looked.looks_dead IS DISTINCT FROM (workers.suspected_at IS NOT NULL
        AND workers.suspected_at <= now())
)
SELECT count(*) FROM looked WHERE looks_dead
