-- Count the messages of each known queue by what happens to them now; one pass over the hot table.
-- stuck: running for over stuck_after_s, or on a worker that is gone. A queue is known when an actor, a message or
-- a dead letter names it. Returns one row a queue, by name.
WITH live AS (
    SELECT
        queue.queue_name,
        count(*) FILTER (WHERE state = 'queued' AND available_at <= now()) AS ready,
        count(*) FILTER (WHERE state = 'queued' AND available_at > now()) AS delayed,
        count(*) FILTER (WHERE state = 'running') AS running,
        count(*) FILTER (WHERE state = 'running' AND (
            claimed_at < now() - make_interval(secs => %(stuck_after_s)s) OR workers.worker_id IS NULL)) AS stuck,
        min(available_at) FILTER (WHERE state = 'queued' AND available_at <= now()) AS oldest_ready_at
    FROM dramatiq.queue
    LEFT JOIN callboard.workers
        ON workers.worker_id = queue.worker_id AND workers.beat_at > now() - make_interval(secs => %(beat_overdue_s)s)
    WHERE queue.state IN ('queued', 'running')
    GROUP BY queue.queue_name
), dead AS (
    SELECT queue_name, count(*) AS kept
    FROM callboard.dead_letters
    GROUP BY queue_name
), known AS (
    SELECT queue_name FROM callboard.actors
    UNION
    SELECT queue_name FROM live
    UNION
    SELECT queue_name FROM dead
)
SELECT
    known.queue_name,
    coalesce(live.ready, 0),
    coalesce(live.delayed, 0),
    coalesce(live.running, 0),
    coalesce(live.stuck, 0),
    extract(epoch FROM now() - live.oldest_ready_at)::float8 AS oldest_ready_s,
    coalesce(dead.kept, 0)
FROM known
LEFT JOIN live USING (queue_name)
LEFT JOIN dead USING (queue_name)
ORDER BY known.queue_name
