-- Find the message that holds a dedupe_key. Uses queue_dedupe_idx.
SELECT message_id::text FROM dramatiq.queue WHERE queue_name = %(queue_name)s AND dedupe_key = %(dedupe_key)s
