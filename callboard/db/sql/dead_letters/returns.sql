-- Look what became of letters that were put back. Uses the primary keys and message_history_pkey.
-- Returns id and state: same_cause (an attempt since failed of the letter's own cause), dead (of another one), done,
-- discarded, queued, running, or gone.
WITH letter AS (
    SELECT * FROM unnest(%(message_ids)s::uuid[], %(generations)s::integer[], %(fingerprints)s::text[])
        AS letter (message_id, generation, fingerprint)
)
SELECT
    letter.message_id::text,
    CASE
        WHEN EXISTS (
            SELECT 1 FROM callboard.attempts
            WHERE attempts.message_id = letter.message_id AND attempts.generation = letter.generation
                AND attempts.fingerprint = letter.fingerprint) THEN 'same_cause'
        WHEN EXISTS (
            SELECT 1 FROM callboard.dead_letters
            WHERE dead_letters.message_id = letter.message_id AND dead_letters.generation >= letter.generation)
            THEN 'dead'
        ELSE coalesce(
            (SELECT queue.state::text FROM dramatiq.queue WHERE queue.message_id = letter.message_id),
            (SELECT message_history.outcome FROM callboard.message_history
                WHERE message_history.message_id = letter.message_id
                    AND message_history.generation >= letter.generation
                ORDER BY message_history.ended_at DESC LIMIT 1),
            'gone')
    END
FROM letter
