-- Put dead letters back into their queues, each with its id, a new generation and full retries, and ring for them.
WITH revived AS (
    DELETE FROM callboard.dead_letters WHERE message_id = ANY(%(message_ids)s::uuid[]) RETURNING dead_letters.*
), queued AS (
    INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, generation, dedupe_key, enqueued_at)
    SELECT
        message_id, queue_name, 'queued', message #- '{options,retries}' #- '{options,retrying_since}', priority,
        generation + 1, dedupe_key, enqueued_at
    FROM revived
    RETURNING message_id
)
SELECT message_id::text, pg_notify('callboard', '') FROM queued
