-- Let one message wait for an hour that can be neither run nor moved, as when its place on the disk is damaged: nothing
-- of it is read. Where it was found, as with bury. Uses the primary key. Returns its id, or no row.
UPDATE dramatiq.queue SET
    state = 'queued', available_at = now() + interval '1 hour', wait_reason = %(error_message)s, lease_id = NULL,
    worker_id = NULL, claimed_at = NULL
WHERE message_id = %(message_id)s
    AND ((%(may_wait)s AND state = 'queued') OR worker_id = %(worker_id)s::uuid OR lease_id = %(lease_id)s::bigint)
RETURNING message_id::text
