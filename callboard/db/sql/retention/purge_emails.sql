-- Delete rows of mails that have outlived their time, but those of a message that waits, runs or is dead: its mail keeps
-- its Message-ID, and a mail that was sent is not sent again.
-- Uses emails_created_idx and the primary keys of queue and dead letters. Returns how many rows.
WITH expired AS (
    SELECT emails.message_id FROM callboard.emails
    WHERE emails.created_at < now() - %(days)s * interval '1 day'
        AND NOT EXISTS (SELECT 1 FROM dramatiq.queue WHERE queue.message_id = emails.message_id)
        AND NOT EXISTS (SELECT 1 FROM callboard.dead_letters WHERE dead_letters.message_id = emails.message_id)
    ORDER BY emails.created_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM callboard.emails USING expired
    WHERE emails.message_id = expired.message_id
    RETURNING 1
)
SELECT count(*) FROM gone
