-- Hand back what this worker claimed but never received: the connection broke before the claim's answer came.
-- Uses queue_running_idx. A claim of a broken connection may still commit, hence the age, and that the caller repeats.
UPDATE dramatiq.queue SET
    state = 'queued', attempt = attempt - 1, lease_id = NULL, worker_id = NULL, claimed_at = NULL, mtime = now()
WHERE worker_id = %(worker_id)s AND state = 'running' AND claimed_at < now() - interval '10 seconds'
    AND lease_id <> ALL (%(lease_ids)s::bigint[])
RETURNING message_id::text, pg_notify('callboard', '')
