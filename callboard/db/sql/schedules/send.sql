-- Send slots of one schedule and move it on, in one transaction: whoever finds another next_at than it read was
-- overtaken by another leader, and sends nothing. The ids are made of name and slot, so even a schedule that was set back
-- by hand sends no slot twice: ids that are queued or have ended are left out. Messages come oldest first.
-- Uses the primary keys, message_history_pkey and queue_dedupe_idx. Returns the ids that were stored; none at all where
-- the schedule has moved.
WITH due AS (
    SELECT schedule_name, queue_name, priority, dedupe_key
    FROM callboard.schedules
    WHERE schedule_name = %(schedule_name)s AND next_at = %(due_at)s AND changed_at = %(changed_at)s AND NOT is_paused
    FOR UPDATE
), outgoing AS (
    SELECT message_id, message, number
    FROM unnest(%(message_ids)s::uuid[], %(messages)s::text[]) WITH ORDINALITY AS o (message_id, message, number)
), sent AS (
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at, dedupe_key)
    SELECT outgoing.message_id, due.queue_name, 'queued', outgoing.message::jsonb, due.priority, now(), due.dedupe_key
    FROM due CROSS JOIN outgoing
    WHERE NOT EXISTS (
        SELECT 1 FROM callboard.message_history WHERE message_history.message_id = outgoing.message_id
        UNION ALL SELECT 1 FROM callboard.dead_letters WHERE dead_letters.message_id = outgoing.message_id)
    ORDER BY outgoing.number
    ON CONFLICT DO NOTHING
    RETURNING message_id
), moved AS (
    UPDATE callboard.schedules SET
        next_at = %(next_at)s,
        last_slot_at = coalesce(%(last_slot_at)s::timestamptz, last_slot_at),
        -- Where a dedupe key was taken, the message that holds it stands for the slot.
        last_message_id = CASE WHEN %(last_message_id)s::uuid IS NULL THEN last_message_id ELSE coalesce(
            (SELECT message_id FROM sent WHERE message_id = %(last_message_id)s::uuid),
            (SELECT message_id FROM dramatiq.queue
                WHERE queue.queue_name = due.queue_name AND queue.dedupe_key = due.dedupe_key),
            %(last_message_id)s::uuid) END
    FROM due
    WHERE schedules.schedule_name = due.schedule_name
    RETURNING 1
)
SELECT
    (SELECT count(*) FROM moved), ARRAY(SELECT message_id::text FROM sent),
    (SELECT pg_notify('callboard', '') FROM sent LIMIT 1)
