-- Take back messages that this transaction has stored as repeats, and that have ended meanwhile: the statement that
-- stored them waited for the one that ended them, and did not see what that one wrote. enqueued_at is the beginning of
-- the transaction that stored a row.
-- Uses the primary key, message_history_pkey and the dead letters' primary key. Returns nothing.
DELETE FROM dramatiq.queue
WHERE message_id = ANY(%(message_ids)s::uuid[]) AND state = 'queued' AND enqueued_at = now()
    AND (EXISTS (SELECT 1 FROM callboard.message_history WHERE message_history.message_id = queue.message_id)
        OR EXISTS (SELECT 1 FROM callboard.dead_letters WHERE dead_letters.message_id = queue.message_id))
