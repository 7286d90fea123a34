-- List schedules by name, each with the state of its last message: where it waits, runs, died or ended.
-- Reads the few rows of callboard.schedules and of callboard.workers; per schedule a probe of the primary keys and of
-- message_history_pkey.
SELECT
    schedules.schedule_name, schedules.cron, schedules.timezone, schedules.actor_name, schedules.queue_name,
    schedules.kwargs, schedules.dedupe_key, schedules.catch_up, schedules.is_paused,
    EXISTS (SELECT 1 FROM callboard.schedule_declarations AS d WHERE d.schedule_name = schedules.schedule_name)
        AS is_declared,
    EXISTS (
        SELECT 1 FROM callboard.workers
        WHERE schedules.queue_name = ANY (workers.queues)
            AND workers.beat_at > now() - make_interval(secs => %(beat_overdue_s)s)) AS is_served,
    schedules.last_slot_at, schedules.last_message_id::text,
    coalesce(
        (SELECT CASE WHEN state = 'queued' AND available_at > now() THEN 'delayed' ELSE state::text END
            FROM dramatiq.queue WHERE queue.message_id = schedules.last_message_id),
        (SELECT 'dead' FROM callboard.dead_letters WHERE dead_letters.message_id = schedules.last_message_id),
        (SELECT outcome FROM callboard.message_history
            WHERE message_history.message_id = schedules.last_message_id
            ORDER BY ended_at DESC LIMIT 1)) AS last_state,
    schedules.next_at
FROM callboard.schedules
ORDER BY schedules.schedule_name
