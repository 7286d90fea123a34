-- Pause queues for all workers: each claim looks here. Returns their names.
INSERT INTO callboard.queue_controls (queue_name, is_paused, paused_until, reason, changed_by)
SELECT names.queue_name, true, %(until)s::timestamptz, %(reason)s, %(changed_by)s
FROM unnest(%(queue_names)s::text[]) AS names (queue_name)
ORDER BY names.queue_name
ON CONFLICT (queue_name) DO UPDATE SET
    is_paused = true, paused_until = EXCLUDED.paused_until, reason = EXCLUDED.reason,
    changed_by = EXCLUDED.changed_by, changed_at = now()
RETURNING queue_name
