-- Delete the oldest dead letters that have outlived their time, each with its attempts; one that an operator works on at
-- this moment is left for the next time, and attempts of a message that was sent again stay.
-- Uses dead_letters_died_idx and the primary keys of attempts and queue. Returns how many letters.
WITH expired AS (
    SELECT message_id FROM callboard.dead_letters
    WHERE died_at < now() - %(days)s * interval '1 day'
    ORDER BY died_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM callboard.dead_letters USING expired
    WHERE dead_letters.message_id = expired.message_id
    RETURNING dead_letters.message_id
), attempt AS (
    DELETE FROM callboard.attempts USING gone
    WHERE attempts.message_id = gone.message_id
        AND NOT EXISTS (SELECT 1 FROM dramatiq.queue WHERE queue.message_id = gone.message_id)
)
SELECT count(*) FROM gone
