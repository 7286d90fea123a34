-- Find the messages that reclaim would hand back, by id and lease alone. Uses queue_running_idx.
SELECT message_id::text, lease_id
FROM dramatiq.queue
WHERE worker_id = %(worker_id)s AND state = 'running'
    AND (claimed_at BETWEEN now() - %(age_s)s * interval '1 second' AND now() + interval '1 minute') IS NOT TRUE
    AND lease_id <> ALL (%(lease_ids)s::bigint[])
