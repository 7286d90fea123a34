-- Count the messages of each known queue by what happens to them now, and tell which queues are paused.
-- stuck: running for over stuck_after_s, or on a worker that is gone. A queue is known when an actor, a message, a dead
-- letter or a pause names it. Waiting and running messages are counted apart, each by an index alone: queue_ready_idx
-- (0.1 s for a million messages, a third of what reading the table takes) and queue_running_idx; dead letters by
-- dead_letters_queue_idx. Returns one row a queue, by name.
WITH waiting AS (
    SELECT
        queue_name,
        count(*) FILTER (WHERE available_at <= now()) AS ready,
        count(*) FILTER (WHERE available_at > now()) AS delayed,
        min(available_at) FILTER (WHERE available_at <= now()) AS oldest_ready_at
    FROM dramatiq.queue
    WHERE state = 'queued'
    GROUP BY queue_name
), running AS (
    SELECT
        queue.queue_name,
        count(*) AS running,
        count(*) FILTER (WHERE
            claimed_at < now() - make_interval(secs => %(stuck_after_s)s) OR workers.worker_id IS NULL) AS stuck
    FROM dramatiq.queue
    LEFT JOIN callboard.workers
        ON workers.worker_id = queue.worker_id AND workers.beat_at > now() - make_interval(secs => %(beat_overdue_s)s)
    WHERE queue.state = 'running'
    GROUP BY queue.queue_name
), dead AS (
    SELECT queue_name, count(*) AS kept
    FROM callboard.dead_letters
    GROUP BY queue_name
), control AS (
    SELECT queue_name, changed_at, paused_until, reason, changed_by
    FROM callboard.queue_controls
    WHERE is_paused AND (paused_until IS NULL OR paused_until > now())
), known AS (
    SELECT queue_name FROM callboard.actors
    UNION
    SELECT queue_name FROM waiting
    UNION
    SELECT queue_name FROM running
    UNION
    SELECT queue_name FROM dead
    UNION
    SELECT queue_name FROM control
)
SELECT
    known.queue_name,
    coalesce(waiting.ready, 0),
    coalesce(waiting.delayed, 0),
    coalesce(running.running, 0),
    coalesce(running.stuck, 0),
    extract(epoch FROM now() - waiting.oldest_ready_at)::float8 AS oldest_ready_s,
    coalesce(dead.kept, 0),
    control.changed_at,
    control.paused_until,
    control.reason,
    control.changed_by
FROM known
LEFT JOIN waiting USING (queue_name)
LEFT JOIN running USING (queue_name)
LEFT JOIN dead USING (queue_name)
LEFT JOIN control USING (queue_name)
ORDER BY known.queue_name
