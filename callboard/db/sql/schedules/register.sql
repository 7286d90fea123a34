-- Store what a worker process declares, and that it declares it. Of several declarations of one name that of the
-- process which started last counts, so that an older one that connects again takes nothing back. A changed expression
-- or zone counts from now on (next_at); a pause stays. In the order of names, so that two workers wait for each other
-- in one order.
-- Returns the names that are new or changed.
WITH own AS (
    SELECT * FROM jsonb_to_recordset(%(schedules)s::jsonb) AS own (
        schedule_name text, actor_name text, queue_name text, priority integer, kwargs jsonb, dedupe_key text,
        cron text, timezone text, catch_up text, next_at timestamptz)
), stored AS (
    INSERT INTO callboard.schedules AS kept (
        schedule_name, actor_name, queue_name, priority, kwargs, dedupe_key, cron, timezone, catch_up, next_at, declared_at)
    SELECT
        schedule_name, actor_name, queue_name, priority, kwargs, dedupe_key, cron, timezone, catch_up, next_at,
        %(declared_at)s
    FROM own
    ORDER BY schedule_name
    ON CONFLICT (schedule_name) DO UPDATE SET
        actor_name = EXCLUDED.actor_name, queue_name = EXCLUDED.queue_name, priority = EXCLUDED.priority,
        kwargs = EXCLUDED.kwargs, dedupe_key = EXCLUDED.dedupe_key, cron = EXCLUDED.cron,
        timezone = EXCLUDED.timezone, catch_up = EXCLUDED.catch_up, declared_at = EXCLUDED.declared_at,
        next_at = CASE WHEN (kept.cron, kept.timezone) = (EXCLUDED.cron, EXCLUDED.timezone)
            THEN kept.next_at ELSE EXCLUDED.next_at END,
        changed_at = CASE WHEN
                (kept.actor_name, kept.queue_name, kept.priority, kept.kwargs, kept.cron, kept.timezone, kept.catch_up)
                = (EXCLUDED.actor_name, EXCLUDED.queue_name, EXCLUDED.priority, EXCLUDED.kwargs, EXCLUDED.cron,
                    EXCLUDED.timezone, EXCLUDED.catch_up)
                AND kept.dedupe_key IS NOT DISTINCT FROM EXCLUDED.dedupe_key
            THEN kept.changed_at ELSE now() END
    -- One from the future would count for ever.
    WHERE least(kept.declared_at, now()) <= EXCLUDED.declared_at
    RETURNING schedule_name, changed_at
), declared AS (
    INSERT INTO callboard.schedule_declarations (schedule_name, worker_id)
    SELECT schedule_name, %(worker_id)s FROM own ORDER BY schedule_name
    ON CONFLICT DO NOTHING
)
SELECT schedule_name FROM stored WHERE changed_at = now() ORDER BY schedule_name
