-- Find who holds the places of messages that were sent: the message itself, or the first one of its dedupe key.
-- Uses the primary key and queue_dedupe_idx. Returns sent id and holder's id, in pairs; none for a place that is free.
SELECT outgoing.message_id::text, queue.message_id::text
FROM unnest(%(message_ids)s::uuid[]) AS outgoing (message_id)
JOIN dramatiq.queue USING (message_id)
UNION ALL
SELECT outgoing.message_id::text, queue.message_id::text
FROM unnest(%(message_ids)s::uuid[], %(queue_names)s::text[], %(dedupe_keys)s::text[])
    AS outgoing (message_id, queue_name, dedupe_key)
JOIN dramatiq.queue USING (queue_name, dedupe_key)
WHERE queue.message_id <> outgoing.message_id
