-- Find a message wherever it is: waiting or running before ended, and of several ends the last.
-- Uses the primary keys and message_history_pkey. Returns one row, or none.
SELECT state, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation, dedupe_key,
    enqueued_at, available_at, started_at, ended_at, worker_id, reason, error_class, error_message, seq
FROM (
    SELECT
        1 AS place,
        CASE WHEN state = 'running' THEN 'running' WHEN available_at > now() THEN 'delayed' ELSE 'queued' END AS state,
        queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation, dedupe_key, enqueued_at,
        available_at, claimed_at AS started_at, NULL::timestamptz AS ended_at, worker_id::text, wait_reason AS reason,
        NULL AS error_class, NULL AS error_message, seq
    FROM dramatiq.queue
    WHERE message_id = %(message_id)s AND state IN ('queued', 'running')
    UNION ALL
    SELECT
        2, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation, dedupe_key,
        enqueued_at, available_at, started_at, ended_at, worker_id::text, NULL, NULL, NULL, NULL
    FROM callboard.message_history
    WHERE message_id = %(message_id)s
    UNION ALL
    SELECT
        2, 'dead', queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation, dedupe_key,
        enqueued_at, NULL, NULL, died_at, NULL, reason, error_class, error_message, NULL
    FROM callboard.dead_letters
    WHERE message_id = %(message_id)s
) AS found
ORDER BY place, ended_at DESC NULLS LAST
LIMIT 1
