-- Delete schedules that nobody has declared for long. Reads the few rows of callboard.schedules. Returns how many.
WITH expired AS (
    SELECT schedule_name FROM callboard.schedules
    WHERE greatest(declared_at, last_slot_at) < now() - %(days)s * interval '1 day'
        AND NOT EXISTS (SELECT 1 FROM callboard.schedule_declarations AS d WHERE d.schedule_name = schedules.schedule_name)
    LIMIT %(limit)s
), gone AS (
    DELETE FROM callboard.schedules USING expired
    WHERE schedules.schedule_name = expired.schedule_name
    RETURNING 1
)
SELECT count(*) FROM gone
