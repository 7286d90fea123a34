-- Count the messages that the claims of a queue take before this one. Uses queue_ready_idx alone: 0.1 s for a million.
SELECT count(*)
FROM dramatiq.queue
WHERE queue_name = %(queue_name)s AND state = 'queued' AND available_at <= now()
    AND (priority, available_at, seq) < (%(priority)s, %(available_at)s, %(seq)s)
