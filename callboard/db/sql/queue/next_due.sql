-- Find in how many seconds the next message of the named queues falls due; no row's seconds are negative, NULL: none waits.
-- Uses queue_due_idx (queue_name, available_at) WHERE state = 'queued': one probe a queue.
SELECT greatest(extract(epoch FROM min(first.available_at) - clock_timestamp()), 0)::float8
FROM unnest(%(queue_names)s::text[]) AS wanted (queue_name)
CROSS JOIN LATERAL (
    SELECT queue.available_at
    FROM dramatiq.queue
    WHERE queue.queue_name = wanted.queue_name AND queue.state = 'queued'
    ORDER BY queue.available_at
    LIMIT 1
) AS first
WHERE NOT EXISTS (
    SELECT 1 FROM callboard.queue_controls AS control
    WHERE control.queue_name = wanted.queue_name AND control.is_paused
        AND (control.paused_until IS NULL OR control.paused_until > now()))
