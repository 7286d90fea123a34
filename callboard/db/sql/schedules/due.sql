-- Find the schedules whose slot has come, the longest due first; those that are paused or that no living worker declares
-- are left out. Reads the few rows of callboard.schedules.
-- Returns one row at least: the moment of the look, the earliest slot still to come, and a due schedule or NULLs.
WITH live AS (
    SELECT schedules.*
    FROM callboard.schedules
    WHERE NOT is_paused
        AND EXISTS (SELECT 1 FROM callboard.schedule_declarations AS d WHERE d.schedule_name = schedules.schedule_name)
), due AS (
    SELECT * FROM live WHERE next_at <= now() AND schedule_name <> ALL (%(failing)s::text[])
    ORDER BY next_at, schedule_name LIMIT %(limit)s
)
SELECT
    now(), (SELECT min(next_at) FROM live WHERE next_at > now()),
    due.schedule_name, due.actor_name, due.queue_name, due.priority, due.kwargs::text, due.dedupe_key, due.cron, due.timezone,
    due.catch_up, due.next_at, due.changed_at
FROM (SELECT 1) AS always
LEFT JOIN due ON true
ORDER BY due.next_at, due.schedule_name
