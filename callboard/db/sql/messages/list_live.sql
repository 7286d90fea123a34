-- List messages that wait or run and were sent at or after looked_back_to, newest first unless is_oldest, from a
-- place in that order on.
-- A message is never available before it was sent, so that queue_ready_idx alone tells which rows to look at; for all of
-- them the table is read once, as no index knows the moment of sending: 0.3 s for a million messages. Where running
-- ones alone are wanted (row_states), queue_running_idx has them.
-- Returns what callboard/ops/messages/listing.py calls a MessageLine.
SELECT
    message_id::text,
    CASE WHEN state = 'running' THEN 'running' WHEN available_at > now() THEN 'delayed' ELSE 'queued' END,
    queue_name, actor_name, priority, attempt, enqueued_at,
    CASE WHEN state = 'running' THEN claimed_at ELSE available_at END, wait_reason
FROM dramatiq.queue
WHERE state = ANY(%(row_states)s::dramatiq.state[])
    AND available_at >= %(looked_back_to)s::timestamptz AND enqueued_at >= %(looked_back_to)s::timestamptz
    AND CASE WHEN state = 'running' THEN 'running' WHEN available_at > now() THEN 'delayed' ELSE 'queued' END
        = ANY(%(states)s)
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
