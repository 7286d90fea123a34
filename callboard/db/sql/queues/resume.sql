-- Resume paused queues and ring for their messages. Returns the names of those that were paused.
WITH resumed AS (
    UPDATE callboard.queue_controls SET
        is_paused = false, paused_until = NULL, reason = NULL, changed_by = %(changed_by)s, changed_at = now()
    WHERE queue_name = ANY(%(queue_names)s::text[]) AND is_paused AND (paused_until IS NULL OR paused_until > now())
    RETURNING queue_name
)
SELECT queue_name, pg_notify('callboard', '') FROM resumed ORDER BY queue_name
