-- List every run of a message that is on record, oldest first: failed ones from the attempts, those that ended well from
-- the history, and the one that runs now. Uses the primary keys and message_history_pkey.
SELECT
    run.generation, run.attempt, run.outcome, run.started_at, run.ended_at,
    extract(epoch FROM run.ended_at - run.started_at)::float8,
    coalesce(past.hostname, present.hostname), coalesce(past.pid, present.pid), run.worker_id::text,
    run.error_class, run.error_message, run.traceback, run.reason
FROM (
    SELECT generation, attempt, outcome, started_at, ended_at, worker_id, error_class, error_message, traceback, reason
    FROM callboard.attempts
    WHERE message_id = %(message_id)s
    UNION ALL
    SELECT generation, attempt, outcome, started_at, ended_at, worker_id, NULL, NULL, NULL, NULL
    FROM callboard.message_history
    WHERE message_id = %(message_id)s AND outcome = 'done'
    UNION ALL
    SELECT generation, attempt, 'running', claimed_at, NULL, worker_id, NULL, NULL, NULL, NULL
    FROM dramatiq.queue
    WHERE message_id = %(message_id)s AND state = 'running'
) AS run
LEFT JOIN callboard.worker_history AS past ON past.worker_id = run.worker_id
LEFT JOIN callboard.workers AS present ON present.worker_id = run.worker_id
ORDER BY run.generation, run.attempt, run.ended_at NULLS LAST
