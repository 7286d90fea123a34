-- Find the queues that actors or waiting messages name, and that no living worker serves.
-- Returns name and the number of waiting messages, at most 10,000 counted.
SELECT known.queue_name, (
    SELECT count(*) FROM (
        SELECT 1 FROM dramatiq.queue WHERE queue.queue_name = known.queue_name AND queue.state = 'queued' LIMIT 10000
    ) AS waiting)
FROM (
    SELECT queue_name FROM callboard.actors
    UNION
    SELECT queue_name FROM dramatiq.queue WHERE state = 'queued'
) AS known
WHERE NOT EXISTS (
    SELECT 1 FROM callboard.workers
    WHERE known.queue_name = ANY (workers.queues)
        AND workers.beat_at > now() - make_interval(secs => %(beat_overdue_s)s))
ORDER BY known.queue_name
