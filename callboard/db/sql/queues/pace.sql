-- Tell how fast messages of each queue came and left in the last window_s, and how long a run took on average.
-- What came is found where it is now: a message is never available, ended or dead before it was sent, so that the index
-- of each table leads to it. Uses queue_ready_idx, queue_running_idx, message_history_ended_idx (BRIN) and
-- dead_letters_died_idx. Returns queue, came, left (done or dead), mean run in seconds; queues without either are absent.
WITH moved AS (
    SELECT queue_name, count(*) AS came, 0 AS gone, 0 AS runs, 0::float8 AS run_s
    FROM dramatiq.queue
    WHERE state = 'queued' AND available_at > now() - make_interval(secs => %(window_s)s) AND available_at <= now()
        AND enqueued_at > now() - make_interval(secs => %(window_s)s)
    GROUP BY queue_name
    UNION ALL
    -- Apart, because all delayed messages must be looked at for this: where they are many, that takes the whole table.
    SELECT queue_name, count(*), 0, 0, 0
    FROM dramatiq.queue
    WHERE state = 'queued' AND available_at > now() AND enqueued_at > now() - make_interval(secs => %(window_s)s)
    GROUP BY queue_name
    UNION ALL
    SELECT queue_name, count(*), 0, 0, 0
    FROM dramatiq.queue
    WHERE state = 'running' AND enqueued_at > now() - make_interval(secs => %(window_s)s)
    GROUP BY queue_name
    UNION ALL
    SELECT
        queue_name,
        count(*) FILTER (WHERE enqueued_at > now() - make_interval(secs => %(window_s)s)),
        count(*) FILTER (WHERE outcome = 'done'),
        count(started_at) FILTER (WHERE outcome = 'done'),
        coalesce(sum(extract(epoch FROM ended_at - started_at)::float8) FILTER (WHERE outcome = 'done'), 0)
    FROM callboard.message_history
    WHERE ended_at > now() - make_interval(secs => %(window_s)s)
    GROUP BY queue_name
    UNION ALL
    SELECT
        queue_name, count(*) FILTER (WHERE enqueued_at > now() - make_interval(secs => %(window_s)s)), count(*), 0, 0
    FROM callboard.dead_letters
    WHERE died_at > now() - make_interval(secs => %(window_s)s)
    GROUP BY queue_name
)
SELECT queue_name, sum(came)::bigint, sum(gone)::bigint, sum(run_s) / nullif(sum(runs), 0)
FROM moved
GROUP BY queue_name
ORDER BY queue_name
