-- Count the messages of one queue, or of all, that wait or run. Uses queue_ready_idx and queue_running_idx.
SELECT
    (SELECT count(*) FROM dramatiq.queue
        WHERE state = 'queued' AND (%(queue_name)s::text IS NULL OR queue_name = %(queue_name)s))
    + (SELECT count(*) FROM dramatiq.queue
        WHERE state = 'running' AND (%(queue_name)s::text IS NULL OR queue_name = %(queue_name)s))
