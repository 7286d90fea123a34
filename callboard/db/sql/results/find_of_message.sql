-- Return the result of a message under a key unless it has expired, or that it was discarded: then nobody is left to
-- store one. A message that was sent again since may still get one.
-- Uses the primary keys and message_history_pkey. Returns value and is_discarded, or no row.
SELECT value, false FROM callboard.results WHERE key = %(key)s AND expires_at > now()
UNION ALL
SELECT NULL, true FROM callboard.message_history
WHERE message_id = %(message_id)s AND outcome = 'discarded'
    AND NOT EXISTS (SELECT 1 FROM dramatiq.queue WHERE queue.message_id = %(message_id)s)
LIMIT 1
