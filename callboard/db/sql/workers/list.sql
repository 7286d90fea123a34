-- List the worker processes with what they run now, longest first, at most jobs_max of each.
-- Uses queue_running_idx. Returns one row a process, by host and pid.
SELECT
    workers.worker_id::text, workers.hostname, workers.pid, workers.queues, workers.threads, workers.version,
    workers.started_at, workers.beat_at, extract(epoch FROM now() - workers.beat_at)::float8,
    workers.suspected_at IS NOT NULL OR workers.beat_at < now() - make_interval(secs => %(beat_overdue_s)s),
    workers.rss_bytes,
    (SELECT count(*) FROM dramatiq.queue WHERE queue.worker_id = workers.worker_id AND queue.state = 'running'),
    coalesce((
        SELECT jsonb_agg(jsonb_build_array(job.message_id, job.queue_name, job.actor_name, job.run_s) ORDER BY job.run_s DESC)
        FROM (
            SELECT
                queue.message_id, queue.queue_name, queue.actor_name,
                extract(epoch FROM now() - queue.claimed_at)::float8 AS run_s
            FROM dramatiq.queue
            WHERE queue.worker_id = workers.worker_id AND queue.state = 'running'
            ORDER BY queue.claimed_at
            LIMIT %(jobs_max)s
        ) AS job), '[]')
FROM callboard.workers
ORDER BY workers.hostname, workers.pid
