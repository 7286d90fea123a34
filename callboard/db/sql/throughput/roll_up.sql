-- Count what came and ended in the whole minutes from since until until, by queue and actor, and put the figures in the
-- place of those that are there: a repeat gives the same rows.
-- What came is counted where it is now. A message that waits has an available_at no earlier than its enqueued_at, so
-- queue_ready_idx (queue_name, priority, available_at) leads past the backlog to what was sent lately and to what is
-- delayed; what ended was sent before it ended, so the BRINs on ended_at lead to the rest.
-- Uses queue_ready_idx, queue_running_idx, message_history_ended_idx, attempts_ended_idx, dead_letters_died_idx and the
-- indexes by message_id. Returns how many rows were written.
WITH RECURSIVE level AS (
    (SELECT queue_name, priority FROM dramatiq.queue WHERE state = 'queued' ORDER BY queue_name, priority LIMIT 1)
    UNION ALL
    SELECT next.queue_name, next.priority
    FROM level
    CROSS JOIN LATERAL (
        SELECT queue.queue_name, queue.priority FROM dramatiq.queue
        WHERE queue.state = 'queued' AND (queue.queue_name, queue.priority) > (level.queue_name, level.priority)
        ORDER BY queue.queue_name, queue.priority
        LIMIT 1
    ) AS next
), came AS (
    SELECT queue.enqueued_at AS moment, queue.queue_name, queue.actor_name
    FROM level
    JOIN dramatiq.queue ON queue.queue_name = level.queue_name AND queue.priority = level.priority
        AND queue.state = 'queued' AND queue.available_at >= %(since)s
    WHERE queue.enqueued_at >= %(since)s AND queue.enqueued_at < %(until)s
    UNION ALL
    SELECT enqueued_at, queue_name, actor_name FROM dramatiq.queue
    WHERE state = 'running' AND enqueued_at >= %(since)s AND enqueued_at < %(until)s
    UNION ALL
    SELECT enqueued_at, queue_name, actor_name FROM callboard.dead_letters
    WHERE died_at >= %(since)s AND enqueued_at >= %(since)s AND enqueued_at < %(until)s
    UNION ALL
    SELECT enqueued_at, queue_name, actor_name FROM callboard.message_history
    WHERE ended_at >= %(since)s AND enqueued_at >= %(since)s AND enqueued_at < %(until)s
), failed AS (
    SELECT
        attempts.ended_at AS moment, attempts.outcome,
        coalesce(queue.queue_name, dead_letters.queue_name, ended.queue_name) AS queue_name,
        coalesce(queue.actor_name, dead_letters.actor_name, ended.actor_name) AS actor_name
    FROM callboard.attempts
    LEFT JOIN dramatiq.queue ON queue.message_id = attempts.message_id
    LEFT JOIN callboard.dead_letters ON dead_letters.message_id = attempts.message_id
    LEFT JOIN LATERAL (
        SELECT queue_name, actor_name FROM callboard.message_history
        WHERE message_history.message_id = attempts.message_id
        ORDER BY ended_at DESC LIMIT 1
    ) AS ended ON queue.message_id IS NULL AND dead_letters.message_id IS NULL
    WHERE attempts.ended_at >= %(since)s AND attempts.ended_at < %(until)s AND attempts.outcome IN ('retry', 'dead')
), event AS (
    SELECT moment, queue_name, actor_name, 1 AS enqueued, 0 AS done, 0 AS retried, 0 AS dead, 0.0 AS run_s, 0.0 AS wait_s
    FROM came
    UNION ALL
    SELECT
        ended_at, queue_name, actor_name, 0, 1, 0, 0,
        CASE WHEN isfinite(started_at) THEN extract(epoch FROM ended_at - started_at) ELSE 0 END,
        CASE
            WHEN isfinite(started_at) AND isfinite(available_at)
                THEN greatest(extract(epoch FROM started_at - available_at), 0)
            ELSE 0
        END
    FROM callboard.message_history
    WHERE ended_at >= %(since)s AND ended_at < %(until)s AND outcome = 'done'
    UNION ALL
    SELECT moment, queue_name, actor_name, 0, 0, (outcome = 'retry')::integer, (outcome = 'dead')::integer, 0, 0
    FROM failed
    UNION ALL
    -- The third lost worker ends a message without an attempt that says "dead".
    SELECT died_at, queue_name, actor_name, 0, 0, 0, 1, 0, 0
    FROM callboard.dead_letters
    WHERE died_at >= %(since)s AND died_at < %(until)s AND reason = 'lost_worker'
), written AS (
    INSERT INTO callboard.throughput AS kept (
        minute_at, queue_name, actor_name, enqueued, done, retried, dead, run_s, wait_s)
    SELECT
        date_trunc('minute', moment), left(coalesce(queue_name, ''), 255), left(coalesce(actor_name, ''), 255),
        sum(enqueued), sum(done), sum(retried), sum(dead), sum(run_s), sum(wait_s)
    FROM event
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3
    ON CONFLICT (minute_at, queue_name, actor_name) DO UPDATE SET
        enqueued = EXCLUDED.enqueued, done = EXCLUDED.done, retried = EXCLUDED.retried, dead = EXCLUDED.dead,
        run_s = EXCLUDED.run_s, wait_s = EXCLUDED.wait_s
    RETURNING 1
)
SELECT count(*) FROM written
