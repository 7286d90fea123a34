-- Put dead letters back into their queues: old id and dedupe key, a new generation, full retries; and ring for them.
-- A letter stays dead where another message holds its dedupe key, or it was sent again and waits already.
-- A letter that another transaction changes is passed by; one that died anew since it was looked up is no longer meant.
-- Uses the primary key. Returns id, new generation and fingerprint of each letter, and whether it was put back.
WITH wanted AS (
    SELECT * FROM unnest(%(message_ids)s::uuid[], %(generations)s::integer[]) AS letter (message_id, generation)
), taken AS MATERIALIZED (
    SELECT
        dead_letters.message_id, dead_letters.queue_name, dead_letters.message, dead_letters.priority,
        dead_letters.generation, dead_letters.dedupe_key, dead_letters.enqueued_at, dead_letters.fingerprint
    FROM callboard.dead_letters
    JOIN wanted USING (message_id, generation)
    FOR UPDATE OF dead_letters SKIP LOCKED
), queued AS (
    INSERT INTO dramatiq.queue (
        message_id, queue_name, state, message, priority, generation, dedupe_key, enqueued_at, available_at)
    SELECT
        message_id, queue_name, 'queued',
        CASE
            -- A row that holds no message dies again by itself; taking it apart would fail here.
            WHEN jsonb_typeof(message) = 'object' AND jsonb_typeof(message -> 'options') = 'object' THEN
                -- What a failure left; and its age, which max_age limits, begins anew.
                jsonb_set(
                    message #- '{options,retries}' #- '{options,requeue_timestamp}' #- '{options,traceback}'
                        #- '{options,retrying_since}',
                    '{message_timestamp}',
                    to_jsonb(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint))
            ELSE message
        END,
        priority, least(generation, 999999999) + 1, dedupe_key, enqueued_at,
        -- Not now(): with one moment for all of them, the bound of a claim could not pass those that are gone.
        clock_timestamp()
    FROM taken
    ORDER BY enqueued_at, message_id
    ON CONFLICT DO NOTHING
    RETURNING message_id
), revived AS (
    DELETE FROM callboard.dead_letters USING queued WHERE dead_letters.message_id = queued.message_id
), rung AS (
    SELECT pg_notify('callboard', '') WHERE EXISTS (SELECT 1 FROM queued)
)
SELECT
    taken.message_id::text, least(taken.generation, 999999999) + 1, taken.fingerprint, queued.message_id IS NOT NULL,
    (SELECT count(*) FROM rung)
FROM taken
LEFT JOIN queued USING (message_id)
