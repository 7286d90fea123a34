-- Find who holds the lease of the mail to a recipient and talks to the mail server, or who held it when it was done.
SELECT queue.message_id::text, queue.lease_id, queue.worker_id::text, workers.pid, TRUE
FROM dramatiq.queue
LEFT JOIN callboard.workers USING (worker_id)
WHERE queue.queue_name = 'emails' AND queue.state = 'running' AND queue.message #>> '{kwargs,to}' = %(recipient)s
    AND EXISTS (SELECT 1 FROM callboard.emails WHERE emails.message_id = queue.message_id)
UNION ALL
SELECT history.message_id::text, history.lease_id, history.worker_id::text, workers.pid, FALSE
FROM callboard.message_history AS history
LEFT JOIN callboard.workers USING (worker_id)
WHERE history.queue_name = 'emails' AND history.message #>> '{kwargs,to}' = %(recipient)s
LIMIT 1
