-- Put one message that its worker lost back into its queue, as long as it runs under the lease it was found with;
-- is_attempt: the worker may have run it. What rescue and reclaim do for many, without a record of the attempt.
-- Uses the primary key. Returns queue and actor, or no row.
UPDATE dramatiq.queue SET
    state = 'queued',
    attempt = greatest(attempt, 1) - (NOT %(is_attempt)s)::integer,
    lost_workers = least(lost_workers, 999999999) + %(is_attempt)s::integer,
    lease_id = NULL, worker_id = NULL, claimed_at = NULL, mtime = now()
WHERE message_id = %(message_id)s AND lease_id = %(lease_id)s AND state = 'running'
RETURNING queue_name, actor_name
