-- List the newest dead letters, of one queue or of all. Uses dead_letters_died_idx (died_at).
SELECT message_id::text, queue_name, actor_name, reason, error_class, error_message, attempt, died_at
FROM callboard.dead_letters
WHERE %(queue_name)s::text IS NULL OR queue_name = %(queue_name)s
ORDER BY died_at DESC
LIMIT %(limit)s
