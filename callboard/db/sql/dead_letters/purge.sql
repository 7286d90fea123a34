-- Delete dead letters and their attempts for good. One that another transaction changes is passed by; one that died
-- anew since it was looked up is no longer meant. Uses the primary keys. Returns the ids.
WITH wanted AS (
    SELECT * FROM unnest(%(message_ids)s::uuid[], %(generations)s::integer[]) AS letter (message_id, generation)
), taken AS MATERIALIZED (
    SELECT dead_letters.message_id
    FROM callboard.dead_letters
    JOIN wanted USING (message_id, generation)
    FOR UPDATE OF dead_letters SKIP LOCKED
), forgotten AS (
    DELETE FROM callboard.attempts USING taken WHERE attempts.message_id = taken.message_id
)
DELETE FROM callboard.dead_letters USING taken
WHERE dead_letters.message_id = taken.message_id
RETURNING dead_letters.message_id::text
