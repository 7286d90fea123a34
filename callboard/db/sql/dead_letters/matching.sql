-- The dead letters that a filter means; a part that is NULL takes all. Stands in front of the other dead_* statements as
-- their table "matching", so that what is counted is what is listed and changed.
-- Parts fold to constants before planning. Uses dead_letters_cause_idx (fingerprint, died_at), dead_letters_queue_idx
-- (queue_name, died_at), dead_letters_died_idx (died_at) or the primary key.
SELECT
    message_id, reason, queue_name, actor_name, message, attempt, generation, fingerprint, error_class, error_message,
    error_place, enqueued_at, first_failed_at, died_at
FROM callboard.dead_letters
WHERE (%(ids)s::uuid[] IS NULL OR message_id = ANY(%(ids)s::uuid[]))
    AND (%(queue)s::text IS NULL OR queue_name = %(queue)s::text)
    AND (%(actor)s::text IS NULL OR actor_name = %(actor)s::text)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s::text)
    -- Letters from before there were fingerprints are one group.
    AND (%(group)s::text IS NULL OR fingerprint = %(group)s::text
        OR (%(group)s::text = 'unknown' AND fingerprint IS NULL))
    AND (%(since)s::timestamptz IS NULL OR died_at >= %(since)s::timestamptz)
    AND (%(until)s::timestamptz IS NULL OR died_at < %(until)s::timestamptz)
    -- Over the keyword arguments; positional ones are $args.
    AND (%(where)s::text IS NULL OR jsonb_path_match(
        message -> 'kwargs', %(where)s::jsonpath, jsonb_build_object('args', message -> 'args'), true))
