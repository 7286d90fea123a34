-- Find the messages that rescue would take back, by id and lease alone. Uses queue_running_idx.
SELECT queue.message_id::text, queue.lease_id
FROM dramatiq.queue
LEFT JOIN callboard.workers ON workers.worker_id = queue.worker_id
WHERE queue.state = 'running'
    AND CASE WHEN workers.worker_id IS NULL
        THEN (queue.claimed_at BETWEEN now() AND now() + interval '1 minute') IS NOT TRUE
        ELSE workers.suspected_at <= now() - interval '2 seconds' END
LIMIT %(limit)s
