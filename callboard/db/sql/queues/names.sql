-- List the names of all known queues: an actor, a worker, a message, a dead letter or a pause has it.
-- One probe of queue_ready_idx for each queue with waiting messages (a loose scan by hand, for Postgres 15).
WITH RECURSIVE waiting AS (
    (SELECT queue_name FROM dramatiq.queue WHERE state = 'queued' ORDER BY queue_name LIMIT 1)
    UNION ALL
    SELECT next.queue_name
    FROM waiting
    CROSS JOIN LATERAL (
        SELECT queue.queue_name FROM dramatiq.queue
        WHERE queue.state = 'queued' AND queue.queue_name > waiting.queue_name
        ORDER BY queue.queue_name
        LIMIT 1
    ) AS next
)
SELECT queue_name FROM waiting
UNION
SELECT queue_name FROM dramatiq.queue WHERE state = 'running'
UNION
SELECT queue_name FROM callboard.actors
UNION
SELECT unnest(queues) FROM callboard.workers
UNION
SELECT queue_name FROM callboard.dead_letters
UNION
SELECT queue_name FROM callboard.queue_controls
ORDER BY queue_name
