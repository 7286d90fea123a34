-- Forget a worker process that ended by itself; what it could not finish goes back to its queues at once.
WITH released AS (
    UPDATE dramatiq.queue SET
        state = 'queued', attempt = attempt - 1, lease_id = NULL, worker_id = NULL, claimed_at = NULL, mtime = now()
    WHERE worker_id = %(worker_id)s AND state = 'running'
    RETURNING queue.message_id
), gone AS (
    DELETE FROM callboard.workers WHERE worker_id = %(worker_id)s
)
SELECT released.message_id::text, pg_notify('callboard', '') FROM released
