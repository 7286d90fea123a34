-- Throw dead letters away: they move to the history. One that another transaction changes is passed by; one that died
-- anew since it was looked up is no longer meant. Uses the primary key. Returns the ids.
WITH wanted AS (
    SELECT * FROM unnest(%(message_ids)s::uuid[], %(generations)s::integer[]) AS letter (message_id, generation)
), taken AS MATERIALIZED (
    SELECT dead_letters.message_id
    FROM callboard.dead_letters
    JOIN wanted USING (message_id, generation)
    FOR UPDATE OF dead_letters SKIP LOCKED
), discarded AS (
    DELETE FROM callboard.dead_letters USING taken
    WHERE dead_letters.message_id = taken.message_id
    RETURNING
        dead_letters.message_id, dead_letters.queue_name, dead_letters.actor_name, dead_letters.message,
        dead_letters.priority, dead_letters.attempt, dead_letters.retries, dead_letters.lost_workers,
        dead_letters.generation, dead_letters.dedupe_key, dead_letters.enqueued_at
)
INSERT INTO callboard.message_history (
    message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    dedupe_key, enqueued_at, available_at)
SELECT
    message_id, 'discarded', queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    dedupe_key, enqueued_at, enqueued_at
FROM discarded
RETURNING message_id::text
