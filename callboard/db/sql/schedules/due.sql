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
    due.schedule_name, due.actor_name, due.queue_name, due.priority,
    -- As in claiming/claim_one: of a row that swells no text is made.
    CASE
        WHEN pg_column_size(due.kwargs) > 8388608 OR pg_column_size(due.kwargs || '[]') > 8388608 THEN NULL
        WHEN (
            SELECT sum(scale(number::numeric) + CASE
                WHEN abs(number::numeric) < 1e30 THEN 0
                WHEN abs(number::numeric) < 1e300 THEN 30
                WHEN abs(number::numeric) < 1e4300 THEN 300
                ELSE 4300 END)
            FROM jsonb_array_elements(
                jsonb_path_query_array(due.kwargs, 'strict $.** ? (@.type() == "number")')) AS number) > 1048576
            THEN NULL
        WHEN octet_length(due.kwargs::text) <= 1048576 THEN due.kwargs::text
    END,
    due.dedupe_key, due.cron, due.timezone, due.catch_up, due.next_at, due.changed_at
FROM (SELECT 1) AS always
LEFT JOIN due ON true
ORDER BY due.next_at, due.schedule_name
