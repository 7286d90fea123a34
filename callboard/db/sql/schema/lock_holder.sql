-- Find the transaction that has been open for longest among those which hold a lock on a table of ours.
-- Returns pid, name and age in seconds, or no row. Sessions of other users show no name without pg_read_all_stats.
SELECT
    activity.pid, coalesce(nullif(activity.application_name, ''), activity.usename, 'unknown') AS name,
    extract(epoch FROM clock_timestamp() - activity.xact_start)::float8 AS age_s
FROM pg_stat_activity AS activity
WHERE activity.pid <> pg_backend_pid() AND EXISTS (
    SELECT 1
    FROM pg_locks
    JOIN pg_class ON pg_class.oid = pg_locks.relation
    JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
    WHERE pg_locks.pid = activity.pid AND pg_locks.granted AND nspname IN ('callboard', 'dramatiq'))
ORDER BY activity.xact_start NULLS LAST
LIMIT 1
