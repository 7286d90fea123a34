-- Take the messages of dead workers back: into their queue, or, after the third lost worker, to the dead letters, or,
-- where an operator cancelled them, to the history.
-- A worker is dead when it was found so at two looks 2 s apart, or when its row is gone. The second only of what was
-- claimed before this statement began: a row that changed hands since then is looked at as it is now, but workers as
-- they were, and one that has registered meanwhile would seem to have none.
-- What was claimed later than now was written by hand, and so was a worker id that lies at an end of the gaps.
-- Uses queue_running_idx, at the dead workers and between those that are known: what lies under the known ones, dead
-- entries by the hundred thousand while vacuum is kept away, is not read.
-- An attempt replaces one of the same number from before its id was sent anew, not what unregister said of this run.
-- Returns queue, outcome (lost | dead | discarded) and cause of each rescued message.
WITH dead_worker AS (
    DELETE FROM callboard.workers
    WHERE suspected_at <= now() - interval '2 seconds'
    RETURNING worker_id, CASE WHEN beat_at < now() - %(beat_overdue_s)s * interval '1 second' THEN 'silent' ELSE 'died' END AS cause
), known AS (
    UPDATE callboard.worker_history SET ended_at = now(), end_cause = dead_worker.cause
    FROM dead_worker
    WHERE worker_history.worker_id = dead_worker.worker_id
), gap AS (
    SELECT edge.worker_id AS above, lead(edge.worker_id) OVER (ORDER BY edge.worker_id) AS below
    FROM (
        SELECT worker_id FROM callboard.workers
        UNION ALL VALUES ('00000000-0000-0000-0000-000000000000'::uuid), ('ffffffff-ffff-ffff-ffff-ffffffffffff')
    ) AS edge
), taken AS (
    SELECT held.*, dead_worker.cause
    FROM dead_worker
    CROSS JOIN LATERAL (
        SELECT queue.message_id, queue.actor_name, queue.cancel_asked_at FROM dramatiq.queue
        WHERE queue.state = 'running' AND queue.worker_id = dead_worker.worker_id
        FOR UPDATE SKIP LOCKED
    ) AS held
    UNION ALL
    SELECT held.*, 'unknown'
    FROM gap
    CROSS JOIN LATERAL (
        SELECT queue.message_id, queue.actor_name, queue.cancel_asked_at FROM dramatiq.queue
        WHERE queue.state = 'running' AND queue.worker_id > gap.above AND queue.worker_id < gap.below
            AND (queue.claimed_at BETWEEN now() AND now() + interval '1 minute') IS NOT TRUE
        FOR UPDATE SKIP LOCKED
    ) AS held
    UNION ALL
    SELECT held.*, 'unknown'
    FROM (
        SELECT queue.message_id, queue.actor_name, queue.cancel_asked_at FROM dramatiq.queue
        WHERE queue.state = 'running' AND queue.worker_id IS NULL
            AND (queue.claimed_at BETWEEN now() AND now() + interval '1 minute') IS NOT TRUE
        FOR UPDATE SKIP LOCKED
    ) AS held
    UNION ALL
    SELECT held.*, 'unknown'
    FROM (VALUES ('00000000-0000-0000-0000-000000000000'::uuid), ('ffffffff-ffff-ffff-ffff-ffffffffffff'))
        AS edge (worker_id)
    CROSS JOIN LATERAL (
        SELECT queue.message_id, queue.actor_name, queue.cancel_asked_at FROM dramatiq.queue
        WHERE queue.state = 'running' AND queue.worker_id = edge.worker_id
            AND (queue.claimed_at BETWEEN now() AND now() + interval '1 minute') IS NOT TRUE
        FOR UPDATE SKIP LOCKED
    ) AS held
    WHERE NOT EXISTS (SELECT 1 FROM callboard.workers WHERE workers.worker_id = edge.worker_id)
), lost AS MATERIALIZED (
    SELECT
        message_id, cause, cancel_asked_at IS NOT NULL AS is_cancelled,
        -- As cause_of_reason() writes it.
        left(encode(sha256(convert_to('lost_worker' || chr(10) || coalesce(actor_name, ''), 'UTF8')), 'hex'), 12)
            AS fingerprint
    FROM taken
), kept AS (
    INSERT INTO callboard.attempts (
        message_id, generation, attempt, outcome, worker_id, started_at, error_class, error_message, fingerprint)
    SELECT
        queue.message_id, queue.generation, queue.attempt, 'lost', queue.worker_id, queue.claimed_at,
        'LostWorker', 'The worker process died or was cut off while it ran the message (' || lost.cause || ').',
        lost.fingerprint
    FROM lost JOIN dramatiq.queue ON queue.message_id = ANY (ARRAY[lost.message_id])
    ON CONFLICT (message_id, generation, attempt) DO UPDATE SET
        outcome = EXCLUDED.outcome, worker_id = EXCLUDED.worker_id, started_at = EXCLUDED.started_at,
        ended_at = EXCLUDED.ended_at, error_class = EXCLUDED.error_class, error_message = EXCLUDED.error_message,
        traceback = EXCLUDED.traceback, reason = EXCLUDED.reason
    WHERE attempts.started_at < EXCLUDED.started_at
), requeued AS (
    UPDATE dramatiq.queue SET
        state = 'queued', lost_workers = least(lost_workers, 999999999) + 1, lease_id = NULL, worker_id = NULL, claimed_at = NULL, mtime = now()
    FROM lost
    WHERE queue.message_id = ANY (ARRAY[lost.message_id])
        AND queue.lost_workers < %(max_lost_workers)s - 1 AND NOT lost.is_cancelled
    RETURNING queue.queue_name, queue.actor_name, 'lost' AS outcome, lost.cause
), ended AS (
    DELETE FROM dramatiq.queue USING lost
    WHERE queue.message_id = ANY (ARRAY[lost.message_id])
        AND (queue.lost_workers >= %(max_lost_workers)s - 1 OR lost.is_cancelled)
    RETURNING queue.*, lost.cause, lost.is_cancelled, lost.fingerprint
), died AS (
    INSERT INTO callboard.dead_letters (
        message_id, reason, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        dedupe_key, error_class, error_message, fingerprint, enqueued_at, first_failed_at)
    SELECT
        message_id, 'lost_worker', queue_name, actor_name, message, priority, attempt, retries,
        least(lost_workers, 999999999) + 1,
        generation, dedupe_key, 'LostWorker', 'The message lost ' || (least(lost_workers, 999999999) + 1) || ' workers. The last time: '
            -- What a process that was replaced has said of it, as with a time limit.
            || coalesce((SELECT attempts.error_message FROM callboard.attempts
                    WHERE attempts.message_id = ended.message_id AND attempts.generation = ended.generation
                        AND attempts.attempt = ended.attempt),
                'The worker process died or was cut off while it ran the message (' || cause || ').'),
        fingerprint, enqueued_at,
        coalesce((SELECT min(ended_at) FROM callboard.attempts WHERE attempts.message_id = ended.message_id), now())
    FROM ended
    WHERE NOT is_cancelled
    ON CONFLICT (message_id) DO UPDATE SET
        reason = EXCLUDED.reason, queue_name = EXCLUDED.queue_name, actor_name = EXCLUDED.actor_name,
        message = EXCLUDED.message, priority = EXCLUDED.priority, attempt = EXCLUDED.attempt,
        retries = EXCLUDED.retries, lost_workers = EXCLUDED.lost_workers, generation = EXCLUDED.generation,
        dedupe_key = EXCLUDED.dedupe_key, error_class = EXCLUDED.error_class,
        error_message = EXCLUDED.error_message, traceback = EXCLUDED.traceback,
        fingerprint = EXCLUDED.fingerprint, error_place = EXCLUDED.error_place, enqueued_at = EXCLUDED.enqueued_at,
        first_failed_at = EXCLUDED.first_failed_at, died_at = EXCLUDED.died_at
), discarded AS (
    INSERT INTO callboard.message_history (
        message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        worker_id, dedupe_key, enqueued_at, available_at, started_at)
    SELECT
        message_id, 'discarded', queue_name, actor_name, message, priority, attempt, retries,
        least(lost_workers, 999999999) + 1,
        generation, worker_id, dedupe_key, enqueued_at, available_at, claimed_at
    FROM ended
    WHERE is_cancelled
), settled AS (
    DELETE FROM callboard.cancellations USING ended WHERE cancellations.message_id = ended.message_id
)
SELECT queue_name, actor_name, outcome, cause, pg_notify('callboard', 'all') FROM requeued
UNION ALL
SELECT queue_name, actor_name, CASE WHEN is_cancelled THEN 'discarded' ELSE 'dead' END, cause, NULL FROM ended
