-- Send a message of a schedule now, whatever its slots; the schedule itself stays as it is. Where its dedupe key is
-- taken, nothing is sent. Returns the id of the new message, or NULL, and that of the message which holds the key.
WITH sent AS (
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, dedupe_key)
    SELECT
        new.message_id, queue_name, 'queued',
        jsonb_build_object(
            'queue_name', queue_name, 'actor_name', actor_name, 'args', '[]'::jsonb, 'kwargs', kwargs,
            'options', jsonb_strip_nulls(jsonb_build_object('schedule', schedule_name, 'dedupe_key', dedupe_key)),
            'message_id', new.message_id,
            'message_timestamp', floor(extract(epoch FROM now()) * 1000)::bigint),
        priority, dedupe_key
    FROM callboard.schedules
    CROSS JOIN (SELECT gen_random_uuid() AS message_id) AS new
    WHERE schedule_name = %(schedule_name)s
    ON CONFLICT DO NOTHING
    RETURNING message_id
)
SELECT
    (SELECT message_id::text FROM sent),
    (SELECT queue.message_id::text FROM callboard.schedules
        JOIN dramatiq.queue ON queue.queue_name = schedules.queue_name AND queue.dedupe_key = schedules.dedupe_key
        WHERE schedules.schedule_name = %(schedule_name)s),
    (SELECT pg_notify('callboard', '') FROM sent)
