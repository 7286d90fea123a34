-- Forget a worker process that ended by itself; what it could not finish goes back to its queues at once, and what an
-- operator cancelled, to the history. Messages that are stuck (leases, and a note for each) stay where they are, and so
-- does the worker's row, without its lock: the leader finds it dead, and counts them as lost.
-- Uses queue_running_idx. Returns the messages that went back.
WITH stuck AS (
    SELECT * FROM unnest(%(stuck_lease_ids)s::bigint[], %(stuck_notes)s::text[]) AS stuck (lease_id, note)
), held AS MATERIALIZED (
    SELECT queue.message_id, queue.cancel_asked_at IS NOT NULL AS is_cancelled, stuck.note
    FROM dramatiq.queue
    LEFT JOIN stuck USING (lease_id)
    WHERE queue.worker_id = %(worker_id)s AND queue.state = 'running'
    FOR UPDATE OF queue
), released AS (
    UPDATE dramatiq.queue SET
        state = 'queued', attempt = greatest(attempt, 1) - 1, lease_id = NULL, worker_id = NULL, claimed_at = NULL, mtime = now()
    FROM held
    WHERE queue.message_id = ANY (ARRAY[held.message_id]) AND NOT held.is_cancelled AND held.note IS NULL
    RETURNING queue.message_id
), cancelled AS (
    DELETE FROM dramatiq.queue USING held
    WHERE queue.message_id = ANY (ARRAY[held.message_id]) AND held.is_cancelled AND held.note IS NULL
    RETURNING queue.*
), discarded AS (
    INSERT INTO callboard.message_history (
        message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        worker_id, dedupe_key, enqueued_at, available_at)
    SELECT
        message_id, 'discarded', queue_name, actor_name, message, priority, greatest(attempt, 1) - 1, retries, lost_workers,
        generation, worker_id, dedupe_key, enqueued_at, available_at
    FROM cancelled
), settled AS (
    DELETE FROM callboard.cancellations USING cancelled WHERE cancellations.message_id = cancelled.message_id
), kept AS (
    INSERT INTO callboard.attempts (
        message_id, generation, attempt, outcome, worker_id, started_at, error_class, error_message, fingerprint)
    SELECT
        queue.message_id, queue.generation, queue.attempt, 'lost', queue.worker_id, queue.claimed_at,
        'TimeLimitExceeded', held.note,
        -- As cause_of_reason() writes it: the cause of the dead letter that becomes of it, so that a canary knows it.
        left(encode(sha256(convert_to('lost_worker' || chr(10) || coalesce(queue.actor_name, ''), 'UTF8')), 'hex'), 12)
    FROM held JOIN dramatiq.queue ON queue.message_id = ANY (ARRAY[held.message_id])
    WHERE held.note IS NOT NULL
    ON CONFLICT (message_id, generation, attempt) DO UPDATE SET
        outcome = EXCLUDED.outcome, worker_id = EXCLUDED.worker_id, started_at = EXCLUDED.started_at,
        ended_at = EXCLUDED.ended_at, error_class = EXCLUDED.error_class, error_message = EXCLUDED.error_message,
        traceback = EXCLUDED.traceback, reason = EXCLUDED.reason
    WHERE attempts.started_at < EXCLUDED.started_at
), gone AS (
    DELETE FROM callboard.workers
    WHERE worker_id = %(worker_id)s AND NOT EXISTS (SELECT 1 FROM held WHERE note IS NOT NULL)
    RETURNING worker_id
), known AS (
    UPDATE callboard.worker_history SET ended_at = now(), end_cause = 'stopped'
    FROM gone
    WHERE worker_history.worker_id = gone.worker_id
)
SELECT released.message_id::text, pg_notify('callboard', 'all') FROM released
