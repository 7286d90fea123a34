-- List the dead letters that a filter means (dead_matching), newest first, from a place in that order on.
SELECT
    message_id::text, queue_name, actor_name, reason, fingerprint, error_class, error_message, error_place,
    attempt, generation, enqueued_at, first_failed_at, died_at
FROM matching
WHERE %(before_at)s::timestamptz IS NULL
    OR (died_at, message_id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
ORDER BY died_at DESC, message_id DESC
LIMIT %(limit)s
