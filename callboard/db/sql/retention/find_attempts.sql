-- Find attempts that have outlived their time and whose message neither waits nor runs nor is dead; one pass over what
-- is that old. Uses attempts_ended_idx (BRIN) and the primary keys of queue and dead letters. Returns an array of ctids.
SELECT ARRAY(
    SELECT attempts.ctid::text FROM callboard.attempts
    WHERE attempts.ended_at < now() - %(days)s * interval '1 day'
        AND NOT EXISTS (SELECT 1 FROM dramatiq.queue WHERE queue.message_id = attempts.message_id)
        AND NOT EXISTS (SELECT 1 FROM callboard.dead_letters WHERE dead_letters.message_id = attempts.message_id)
    LIMIT %(limit)s)
