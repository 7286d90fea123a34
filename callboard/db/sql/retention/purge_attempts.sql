-- Delete attempts in the places that were found, unless their message has come back since. Reads the places themselves
-- (TID scan) and the primary keys of queue and dead letters. Returns how many rows.
WITH gone AS (
    DELETE FROM callboard.attempts
    WHERE attempts.ctid = ANY (%(places)s::tid[]) AND attempts.ended_at < now() - %(days)s * interval '1 day'
        AND NOT EXISTS (SELECT 1 FROM dramatiq.queue WHERE queue.message_id = attempts.message_id)
        AND NOT EXISTS (SELECT 1 FROM callboard.dead_letters WHERE dead_letters.message_id = attempts.message_id)
    RETURNING 1
)
SELECT count(*) FROM gone
