-- Show one dead letter with its whole message.
SELECT message_id::text, queue_name, actor_name, reason, error_class, error_message, attempt, died_at, message
FROM callboard.dead_letters
WHERE message_id = %(message_id)s
