-- List messages that were done or discarded and ended at or after looked_back_to, newest first unless is_oldest, from a
-- place in that order on.
-- Uses message_history_ended_idx (BRIN): a message ends after it was sent, so the caller looks back further and further.
SELECT message_id::text, outcome, queue_name, actor_name, priority, attempt, enqueued_at, ended_at, NULL
FROM callboard.message_history
WHERE ended_at >= %(looked_back_to)s::timestamptz AND enqueued_at >= %(looked_back_to)s::timestamptz
    AND outcome = ANY(%(states)s)
    AND (%(queue_name)s::text IS NULL OR queue_name = %(queue_name)s)
    AND (%(actor_name)s::text IS NULL OR actor_name = %(actor_name)s)
    AND (%(since)s::timestamptz IS NULL OR enqueued_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR enqueued_at <= %(until)s)
    AND (%(path)s::jsonpath IS NULL OR coalesce(jsonb_path_query_first(
        message -> 'kwargs', %(path)s, jsonb_build_object('args', message -> 'args'), true) NOT IN ('false', 'null'), false))
    AND (%(after_at)s::timestamptz IS NULL OR CASE WHEN %(is_oldest)s
        THEN (enqueued_at, message_id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
        ELSE (enqueued_at, message_id) < (%(after_at)s::timestamptz, %(after_id)s::uuid) END)
ORDER BY
    CASE WHEN %(is_oldest)s THEN enqueued_at END, CASE WHEN %(is_oldest)s THEN message_id END,
    enqueued_at DESC, message_id DESC
LIMIT %(limit)s
