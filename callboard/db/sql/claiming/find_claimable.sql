-- Find the messages that a claim of the named queues would take, by their ids alone, which can be read whatever else
-- the rows hold: of each queue up to per_queue, in the order of a claim; is_alone: those that must run alone.
-- Uses queue_ready_idx. Returns the ids, for claim_one.
SELECT head.message_id::text
FROM unnest(%(queue_names)s::text[]) WITH ORDINALITY AS served (queue_name, turn)
CROSS JOIN LATERAL (
    SELECT queue.message_id
    FROM dramatiq.queue
    WHERE queue.queue_name = served.queue_name AND queue.state = 'queued' AND queue.available_at <= now()
        AND (queue.lost_workers >= 2) = %(is_alone)s
    ORDER BY queue.priority, queue.available_at, queue.seq
    LIMIT %(per_queue)s
) AS head
WHERE NOT EXISTS (
        SELECT 1 FROM callboard.queue_controls AS control
        WHERE control.queue_name = served.queue_name AND control.is_paused
            AND (control.paused_until IS NULL OR control.paused_until > now()))
    AND EXISTS (SELECT 1 FROM callboard.workers WHERE workers.worker_id = %(worker_id)s)
ORDER BY served.turn
LIMIT %(limit)s
