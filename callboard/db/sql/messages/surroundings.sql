-- Tell what a waiting message waits for: the pause of its queue, the workers that serve it, who knows its actor.
-- Uses queue_running_idx. Returns paused since, until, why, by whom; processes and their threads; messages that run in
-- them and since when the longest; whether a worker has registered the actor.
WITH serving AS (
    SELECT worker_id, threads
    FROM callboard.workers
    WHERE %(queue_name)s = ANY (queues) AND beat_at > now() - make_interval(secs => %(beat_overdue_s)s)
), running AS (
    SELECT count(*) AS messages, min(queue.claimed_at) AS longest_since
    FROM dramatiq.queue
    JOIN serving USING (worker_id)
    WHERE queue.state = 'running'
)
SELECT
    control.changed_at, control.paused_until, control.reason, control.changed_by,
    (SELECT count(*) FROM serving), (SELECT coalesce(sum(threads), 0) FROM serving),
    running.messages, running.longest_since,
    EXISTS (SELECT 1 FROM callboard.actors WHERE actor_name = %(actor_name)s)
FROM running
LEFT JOIN callboard.queue_controls AS control
    ON control.queue_name = %(queue_name)s AND control.is_paused
    AND (control.paused_until IS NULL OR control.paused_until > now())
