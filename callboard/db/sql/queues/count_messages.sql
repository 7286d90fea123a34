-- Count a queue's messages by what they are doing.
SELECT
    count(*) FILTER (WHERE state = 'queued' AND available_at <= now()),
    count(*) FILTER (WHERE state = 'queued' AND available_at > now()),
    count(*) FILTER (WHERE state = 'running'),
    (SELECT count(*) FROM callboard.dead_letters WHERE dead_letters.queue_name = %(queue_name)s)
FROM dramatiq.queue
WHERE queue_name = %(queue_name)s
