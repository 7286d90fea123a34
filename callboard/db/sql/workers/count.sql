-- Count the worker processes that beat lately and serve each queue. Returns queue, processes and threads, by name.
SELECT served.queue_name, count(*), sum(workers.threads)
FROM callboard.workers
CROSS JOIN LATERAL unnest(workers.queues) AS served (queue_name)
WHERE workers.beat_at > now() - make_interval(secs => %(beat_overdue_s)s)
GROUP BY served.queue_name
ORDER BY served.queue_name
