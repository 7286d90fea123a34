-- Tell whether the message still runs under this lease, after any transaction that is ending it has finished.
SELECT 1 FROM dramatiq.queue
WHERE message_id = %(message_id)s AND lease_id = %(lease_id)s AND state = 'running'
FOR UPDATE
