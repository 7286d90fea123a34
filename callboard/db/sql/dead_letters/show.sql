-- Show one dead letter with its whole message. Uses the primary key.
SELECT
    message_id::text, queue_name, actor_name, reason, fingerprint, error_class, error_message, error_place,
    attempt, generation, enqueued_at, first_failed_at, died_at,
    message, dedupe_key, priority, retries, lost_workers
FROM callboard.dead_letters
WHERE message_id = %(message_id)s
