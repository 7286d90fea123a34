-- Find who keeps dead letters from being put back: the message that holds the dedupe key, or the letter's own id, sent
-- again. Uses queue_dedupe_idx and the primary keys. Returns letter, holder, queue and key.
SELECT dead_letters.message_id::text, queue.message_id::text, dead_letters.queue_name, dead_letters.dedupe_key
FROM callboard.dead_letters
JOIN dramatiq.queue ON queue.queue_name = dead_letters.queue_name AND queue.dedupe_key = dead_letters.dedupe_key
WHERE dead_letters.message_id = ANY(%(message_ids)s::uuid[])
UNION
SELECT dead_letters.message_id::text, queue.message_id::text, dead_letters.queue_name, dead_letters.dedupe_key
FROM callboard.dead_letters
JOIN dramatiq.queue USING (message_id)
WHERE dead_letters.message_id = ANY(%(message_ids)s::uuid[])
